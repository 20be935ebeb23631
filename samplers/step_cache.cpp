#include "samplers/step_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace tessera {
namespace {

double relative_change(const at::Tensor& x, const at::Tensor& from) {
  constexpr double kSmallest = 1e-12;
  const at::Tensor moved = (x - from).flatten(1).abs().mean(1), size = from.flatten(1).abs().mean(1);
  return (moved / size.clamp_min(kSmallest)).max().item<double>();
}

}  // namespace

StepCache::StepCache(double threshold) : threshold_(threshold) {
  TORCH_CHECK(threshold >= 0, "StepCache: the threshold must not be negative, got ", threshold);
}

ConditionalModel StepCache::wrap(ConditionalModel model) {
  return
      [this, model = std::move(model)](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
        ++report_.calls;
        if (reuse(x)) return output_;
        output_ = model(x, timesteps, condition);
        input_ = x;
        return output_;
      };
}

StepCacheReport StepCache::report() const {
  StepCacheReport out = report_;
  if (out.reused > 0) out.mean_change = sum_of_changes_ / static_cast<double>(out.reused);
  return out;
}

bool StepCache::reuse(const at::Tensor& x) {
  if (threshold_ == 0 || !input_.defined() || input_.sizes() != x.sizes() || x.is_meta()) return false;
  const double change = relative_change(x, input_);
  if (!(change < threshold_)) return false;
  ++report_.reused;
  report_.largest_change = std::max(report_.largest_change, change);
  sum_of_changes_ += change;
  return true;
}

}  // namespace tessera
