#include "training/flow_loss.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "core/transfer.h"
#include "training/captions.h"

namespace tessera {
namespace {

constexpr uint64_t kValidationSeed = 55001;
constexpr int64_t kAtOnce = 8;

}  // namespace

double FlowTimes::quantile(double part) const {
  const double normal = at::special_ndtri(at::scalar_tensor(part, at::kDouble)).item<double>();
  const double t = uniform ? part : 1 / (1 + std::exp(-(mean + deviation * normal)));
  return shift * t / (1 + (shift - 1) * t);
}

FlowBatch FlowBatch::on(at::Device device) const {
  const auto there = [&](const at::Tensor& t) { return uploaded(t, device); };
  return {.latents = there(latents), .noise = there(noise), .times = there(times), .context = there(context)};
}

at::Tensor flow_loss(const WanTransformer& model, const FlowBatch& batch, at::ScalarType dtype) {
  const at::Tensor wanted = batch.noise - batch.latents;
  const at::Tensor noisy = batch.latents + batch.times.view({-1, 1, 1, 1, 1}) * wanted;
  const at::Tensor velocity = model(noisy.to(dtype), batch.times * 1000, batch.context.to(dtype));
  return (velocity.to(at::kFloat) - wanted).square().mean();
}

at::Tensor logit_normal_times(int64_t count, double offset, double shift) {
  const FlowTimes times{.shift = shift};
  std::vector<double> drawn;
  for (int64_t i = 0; i < count; ++i) {
    const double part = (static_cast<double>(i) + offset) / static_cast<double>(count);
    drawn.push_back(times.quantile(std::clamp(part, 1e-4, 1 - 1e-4)));
  }
  return at::tensor(drawn, at::kDouble).to(at::kFloat);
}

at::Tensor noisy_times(int64_t count, double offset) {
  return (at::arange(count, at::kFloat) + offset) / std::max<int64_t>(count, 1) * 0.1 + 0.9;
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
    const int64_t clip_count = latents.size(0);
    const FlowBatch batch{.latents = latents,
                          .noise = seeded_noise_batch(latents.sizes().slice(1).vec(), seeds),
                          .times = times.narrow(0, begin, clip_count),
                          .context = model.context(captions)};
    sum += flow_loss(model.transformer, batch.on(model.device), model.dtype).item<double>() *
           static_cast<double>(clip_count);
  }
  return sum / static_cast<double>(count);
}

}  // namespace tessera
