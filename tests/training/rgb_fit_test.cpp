#include "training/rgb_fit.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "weights/bind.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

constexpr int64_t kSide = 128;

/// The bundled model's autoencoder.
class BundledColors : public testing::Test {
 protected:
  BundledColors() {
    ParamList params;
    vae.params(params);
    bind(params, read_weights(part), at::kFloat, at::kCPU);
  }

  /// Mean squared error of the colors of unseen stills in [0, 1], painted by `rgb` at the latents' resolution.
  double error_of(const LatentRgb& rgb) const {
    const c10::NoGradGuard no_gradients;
    const auto per_channel = [](const std::vector<double>& values) {
      return at::tensor(values, at::kFloat).view({1, -1, 1, 1, 1});
    };
    double sum = 0;
    constexpr int64_t kScenes = 6;
    for (uint64_t i = 0; i < kScenes; ++i) {
      const at::Tensor still = renderer.clip(sample_scene(991, i, false), 1, kSide, kSide).unsqueeze(0);
      const at::Tensor normal =
          (vae.encode(still).mean - per_channel(vae.config().latents_mean)) / per_channel(vae.config().latents_std);
      const int64_t stride = vae.config().spatial_stride();
      const at::Tensor wanted = at::avg_pool3d(still / 2 + 0.5, {1, stride, stride});
      sum += (rgb(normal) - wanted).square().mean().item<double>() / kScenes;
    }
    return sum;
  }

  Component part = open_model_dir(TESSERA_SOURCE_DIR "/weights/bundled").component("vae");
  WanVae vae{WanVaeConfig::from_json(part.config())};
  SceneRenderer renderer;
};

TEST_F(BundledColors, PaintScenesThatTheyWereNotFittedTo) {
  const LatentRgb& rgb = vae.config().latent_rgb;
  ASSERT_EQ(rgb.factors.size(), 16u);
  LatentRgb swapped = rgb;
  for (auto& color : swapped.factors) std::swap(color[0], color[2]);
  const double error = error_of(rgb);
  EXPECT_LT(error, 0.01);  // 20 dB
  EXPECT_GT(error_of(swapped), 4 * error);
}

/// A random autoencoder of four channels: its latents tell something about the colors, so the fit beats their mean.
TEST(RgbFit, IsStoredUnderPublicNames) {
  const nlohmann::json json = {{"base_dim", 8},
                               {"z_dim", 4},
                               {"dim_mult", {1, 2}},
                               {"num_res_blocks", 1},
                               {"temperal_downsample", {true}},
                               {"in_channels", 12},
                               {"out_channels", 12},
                               {"patch_size", 2}};
  WanVae vae(WanVaeConfig::from_json({json, "config.json"}));
  ParamList params;
  vae.params(params);
  initialize(params, 1, at::kCPU);
  const LatentStatistics unit{std::vector<double>(4, 0.0), std::vector<double>(4, 1.0)};
  const RgbFit fit = fit_latent_rgb(vae, unit, SceneRenderer(), 32, 5, at::kFloat);
  EXPECT_GT(fit.psnr, 8.0);  // that of their mean is about 6 dB
  nlohmann::json stored = json;
  set_latent_rgb(stored, fit.rgb);
  const LatentRgb again = WanVaeConfig::from_json({stored, "config.json"}).latent_rgb;
  EXPECT_EQ(again.factors, fit.rgb.factors);
  EXPECT_EQ(again.bias, fit.rgb.bias);
  ASSERT_EQ(stored.at("latent_rgb_factors").size(), 4u);
  EXPECT_EQ(stored.at("latent_rgb_factors")[0].size(), 3u);
}

}  // namespace
}  // namespace tessera
