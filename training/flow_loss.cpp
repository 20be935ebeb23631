#include "training/flow_loss.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/rng.h"
#include "training/captions.h"

namespace tessera {
namespace {

constexpr uint64_t kValidationSeed = 55001;
constexpr int64_t kAtOnce = 8;

}  // namespace

at::Tensor logit_normal_times(int64_t count, double offset, double shift) {
  std::vector<double> quantiles;
  for (int64_t i = 0; i < count; ++i)
    quantiles.push_back((static_cast<double>(i) + offset) / static_cast<double>(count));
  const at::Tensor normal = at::special_ndtri(at::tensor(quantiles, at::kDouble).clamp(1e-4, 1 - 1e-4));
  const at::Tensor t = at::sigmoid(normal);
  return (shift * t / (1 + (shift - 1) * t)).to(at::kFloat);
}

double validation_flow_loss(const SceneModel& model, const SceneRenderer& renderer, const SceneSize& size,
                            int64_t count, double shift) {
  const c10::NoGradGuard no_gradients;
  const at::Tensor times = logit_normal_times(count, 0.5, shift);
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kAtOnce) {
    std::vector<at::Tensor> clips;
    std::vector<std::string> captions;
    std::vector<uint64_t> seeds;
    for (int64_t i = begin; i < std::min(begin + kAtOnce, count); ++i) {
      const Scene scene = sample_scene(kValidationSeed, static_cast<uint64_t>(i), size.video());
      clips.push_back(renderer.clip(scene, size.frames, size.height, size.width));
      captions.push_back(caption(scene));
      seeds.push_back(kValidationSeed + static_cast<uint64_t>(i));
    }
    const at::Tensor latents = model.encode(at::stack(clips));
    const at::Tensor noise = seeded_noise_batch(latents.sizes().slice(1).vec(), seeds);
    const at::Tensor now = times.narrow(0, begin, latents.size(0)), t = now.view({-1, 1, 1, 1, 1});
    const at::Tensor noisy = latents + t * (noise - latents);
    const at::Tensor velocity = model.transformer(noisy.to(model.dtype), now * 1000, model.context(captions));
    const at::Tensor error = (velocity.to(at::kFloat) - (noise - latents)).square().flatten(1).mean(1);  // [B]
    sum += error.sum().item<double>();
  }
  return sum / static_cast<double>(count);
}

}  // namespace tessera
