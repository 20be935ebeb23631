// The bundled model's autoencoder: what it loses of clips that it was not trained on.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/wan/vae.h"
#include "training/scenes.h"
#include "weights/bind.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

double decibel(const at::Tensor& error) {
  return 10 * std::log10(4 / error.square().mean().item<double>());
}

TEST(BundledVae, WholeClipsKeep32Decibels) {
  const c10::NoGradGuard no_gradients;
  const Component part = open_component(TESSERA_SOURCE_DIR "/weights/bundled/vae");
  WanVae vae(WanVaeConfig::from_json(part.config()));
  ParamList params;
  vae.params(params);
  bind(params, read_weights(part), at::kBFloat16, at::kCPU);
  const SceneRenderer renderer;
  double sum = 0;
  constexpr int64_t kClips = 4;
  for (uint64_t i = 0; i < kClips; ++i) {
    const at::Tensor clip = renderer.clip(sample_scene(991, i, true), 17, 128, 128).unsqueeze(0);
    const at::Tensor error = vae.decode(vae.encode(clip.to(at::kBFloat16)).mean).to(at::kFloat) - clip;
    sum += decibel(error);
    // One that halves time twice loses moving detail after the first frame.
    EXPECT_NEAR(decibel(error.select(2, 16)), decibel(error.select(2, 0)), 3);
  }
  EXPECT_GT(sum / kClips, 32);
}

}  // namespace
}  // namespace tessera
