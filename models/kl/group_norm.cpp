#include "models/kl/group_norm.h"

#include <ATen/ATen.h>

#include "kernels/group_norm.h"
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

namespace {

/// In one pass of our own where x is stored pixel by pixel.
at::Tensor normalized(const GroupNorm& norm, const at::Tensor& x, bool silu) {
  const auto dtype = x.scalar_type();
  const at::Tensor pixels = x.permute({0, 2, 3, 1});
  if (has_group_norm(x, norm.weight) && pixels.is_contiguous())
    return group_norm_rows(pixels.flatten(1, 2), norm.groups, norm.weight, norm.bias, norm.eps, silu)
        .view(pixels.sizes())
        .permute({0, 3, 1, 2});
  const at::Tensor y = at::group_norm(x, norm.groups, norm.weight.to(dtype), norm.bias.to(dtype), norm.eps);
  return (silu ? at::silu(y) : y).contiguous(x.suggest_memory_format());  // CUDA's group norm lays out planes
}

/// `silu` after it.
at::Tensor group_norm(const GroupNorm& norm, const at::Tensor& x, SharedStatistics* shared, bool silu) {
  if (shared == nullptr || shared->recording()) {
    if (shared != nullptr)
      shared->record(x.contiguous()
                         .view({x.size(0), norm.groups, x.size(1) / norm.groups * x.size(2) * x.size(3)})
                         .to(at::kFloat));
    return normalized(norm, x, silu);
  }
  const auto [mean, variance] = shared->take();  // [B, G, 1]
  const at::Tensor gain = norm.weight.view({1, norm.groups, -1}) * (variance + norm.eps).rsqrt();
  const at::Tensor offset = norm.bias.view({1, norm.groups, -1}) - mean * gain;
  const auto per_channel = [&](const at::Tensor& t) { return t.view({x.size(0), x.size(1), 1, 1}); };
  const at::Tensor y = at::addcmul(per_channel(offset), x.to(wide_type(x)), per_channel(gain)).to(x.scalar_type());
  return silu ? at::silu(y) : y;
}

}  // namespace

at::Tensor GroupNorm::operator()(const at::Tensor& x, SharedStatistics* shared) const {
  return group_norm(*this, x, shared, /*silu=*/false);
}

at::Tensor GroupNorm::silu(const at::Tensor& x, SharedStatistics* shared) const {
  return group_norm(*this, x, shared, /*silu=*/true);
}

}  // namespace tessera
