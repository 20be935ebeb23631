#include "samplers/guidance.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

namespace tessera {
namespace {

/// All axes but the first.
std::vector<int64_t> sample_axes(const at::Tensor& x) {
  std::vector<int64_t> axes(static_cast<size_t>(x.dim() - 1));
  std::iota(axes.begin(), axes.end(), int64_t{1});
  return axes;
}

at::Tensor sample_sum(const at::Tensor& x) {
  return x.sum(sample_axes(x), /*keepdim=*/true);
}

/// Unbiased, of each sample; at::std has no kernel on the meta device.
at::Tensor sample_std(const at::Tensor& x) {
  const int64_t count = x.numel() / x.size(0);
  const at::Tensor centered = x - sample_sum(x) / count;
  return (sample_sum(centered.square()) / (count - 1)).sqrt();
}

}  // namespace

at::Tensor combine_guidance(const at::Tensor& cond, const at::Tensor& uncond, double scale) {
  return uncond + scale * (cond - uncond);
}

at::Tensor rescale_guidance(const at::Tensor& guided, const at::Tensor& cond, double weight) {
  const at::Tensor matched = guided * (sample_std(cond) / sample_std(guided));
  return weight * matched + (1 - weight) * guided;
}

at::Tensor project_difference(const at::Tensor& difference, const at::Tensor& cond, double largest_norm,
                              double parallel) {
  constexpr double kSmallest = 1e-12;
  at::Tensor cut = difference;
  if (largest_norm > 0) cut = cut * (largest_norm / sample_sum(cut.square()).sqrt()).clamp_max(1.0);
  const at::Tensor wide = cut.to(at::kDouble), direction = cond.to(at::kDouble);
  const at::Tensor unit = direction / sample_sum(direction.square()).sqrt().clamp_min(kSmallest);
  const at::Tensor along = sample_sum(wide * unit) * unit;
  return ((wide - along) + parallel * along).to(difference.scalar_type());
}

at::Tensor zero_star_factor(const at::Tensor& cond, const at::Tensor& uncond) {
  constexpr double kSmallest = 1e-8;
  return sample_sum(cond * uncond) / (sample_sum(uncond.square()) + kSmallest);
}

Guidance::Guidance(const GuidanceConfig& config, at::Tensor positive, at::Tensor negative)
    : config_(config), positive_(std::move(positive)) {
  if (!config.guides()) return;
  TORCH_CHECK(negative.defined() && negative.sizes() == positive_.sizes(),
              "Guidance: both conditions must have one shape, got ", positive_.sizes(), " and ",
              negative.defined() ? negative.sizes() : at::IntArrayRef());
  both_ = at::cat({positive_, negative});
}

NetworkInput Guidance::ask(const at::Tensor& x, double timestep, int64_t call, int64_t calls) {
  if (call == 0) momentum_.reset();
  const auto boundary = [&](double fraction) { return static_cast<int64_t>(fraction * static_cast<double>(calls)); };
  scale_ = config_.scale_at(timestep);
  guided_ = scale_ > 1 && call >= boundary(config_.start) && call < boundary(config_.stop);
  if (guided_ && config_.kind == GuidanceKind::kZeroStar && call < config_.zero_calls) return {};
  const int64_t rows = guided_ ? 2 * x.size(0) : x.size(0);
  const at::Tensor timesteps = at::full({rows}, timestep, x.options().dtype(at::kFloat));
  return guided_ ? NetworkInput{at::cat({x, x}), timesteps, both_} : NetworkInput{x, timesteps, positive_};
}

at::Tensor Guidance::answer(const at::Tensor& output) {
  const at::Tensor wide = output.to(at::kFloat);
  if (!guided_) return wide;
  const int64_t batch = positive_.size(0);
  TORCH_CHECK(wide.size(0) == 2 * batch, "Guidance: the model made ", wide.size(0), " predictions of ", 2 * batch);
  const int64_t all = wide.size(1), guided = config_.channels > 0 ? std::min(config_.channels, all) : all;
  const at::Tensor cond = wide.narrow(0, 0, batch), steered = cond.narrow(1, 0, guided);
  at::Tensor out = combine(steered, wide.narrow(0, batch, batch).narrow(1, 0, guided));
  if (config_.rescale > 0) out = rescale_guidance(out, steered, config_.rescale);
  return guided < all ? at::cat({out, cond.narrow(1, guided, all - guided)}, 1) : out;
}

at::Tensor Guidance::combine(const at::Tensor& cond, const at::Tensor& uncond) {
  switch (config_.kind) {
    case GuidanceKind::kPlain:
      return combine_guidance(cond, uncond, scale_);
    case GuidanceKind::kZeroStar:
      return combine_guidance(cond, zero_star_factor(cond, uncond) * uncond, scale_);
    case GuidanceKind::kProjected: {
      at::Tensor difference = cond - uncond;
      if (config_.projected_momentum != 0) {
        if (momentum_.defined()) difference = difference + config_.projected_momentum * momentum_;
        momentum_ = difference;
      }
      return uncond + scale_ * project_difference(difference, cond, config_.projected_norm, config_.projected_parallel);
    }
  }
  TORCH_CHECK(false, "Guidance: unknown guidance");
}

}  // namespace tessera
