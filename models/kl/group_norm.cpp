#include "models/kl/group_norm.h"

#include <ATen/ATen.h>

#include "kernels/value_type.h"

namespace tessera {

void SharedStatistics::record(const at::Tensor& x) {
  if (next_ == norms_.size()) norms_.emplace_back();
  Sums& sums = norms_[next_++];
  const at::Tensor sum = x.sum(2, /*keepdim=*/true, at::kDouble);
  const at::Tensor squares = x.square().sum(2, /*keepdim=*/true, at::kDouble);
  sums.sum = sums.sum.defined() ? sums.sum + sum : sum;
  sums.squares = sums.squares.defined() ? sums.squares + squares : squares;
  sums.cells += static_cast<double>(x.size(2));
}

std::pair<at::Tensor, at::Tensor> SharedStatistics::take() {
  TORCH_CHECK(next_ < norms_.size(), "SharedStatistics: more norms than were recorded");
  const Sums& sums = norms_[next_++];
  const at::Tensor mean = sums.sum / sums.cells;
  const at::Tensor variance = (sums.squares / sums.cells - mean.square()).clamp_min(0);
  return {mean.to(at::kFloat), variance.to(at::kFloat)};
}

void GroupNorm::params(ParamList& out, const std::string& prefix, int64_t channels) {
  out.add_float(prefix + "weight", weight, {channels}, Init::ones());
  out.add_float(prefix + "bias", bias, {channels}, Init::zeros());
}

at::Tensor GroupNorm::operator()(const at::Tensor& x, SharedStatistics* shared) const {
  const auto dtype = x.scalar_type();
  if (shared == nullptr || shared->recording()) {
    if (shared != nullptr)
      shared->record(
          x.contiguous().view({x.size(0), groups, x.size(1) / groups * x.size(2) * x.size(3)}).to(at::kFloat));
    return at::group_norm(x, groups, weight.to(dtype), bias.to(dtype), eps);
  }
  const auto [mean, variance] = shared->take();  // [B, G, 1]
  const at::Tensor gain = weight.view({1, groups, -1}) * (variance + eps).rsqrt();
  const at::Tensor offset = bias.view({1, groups, -1}) - mean * gain;
  const auto per_channel = [&](const at::Tensor& t) { return t.view({x.size(0), x.size(1), 1, 1}); };
  return at::addcmul(per_channel(offset), x.to(wide_type(x)), per_channel(gain)).to(dtype);
}

}  // namespace tessera
