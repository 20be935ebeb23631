#include "models/attention/head_features.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>

namespace tessera {
namespace {

constexpr int64_t kRotations = 4;  // of DPFP

at::Tensor dpfp(const at::Tensor& x) {
  const at::Tensor both = at::cat({at::relu(x), -at::relu(x)}, -1);
  std::vector<at::Tensor> products;
  for (int64_t shift = 1; shift <= kRotations; ++shift) products.push_back(both * at::roll(both, shift, -1));
  return at::cat(products, -1);
}

}  // namespace

int64_t features_of_channel(FeatureMap map) {
  return map == FeatureMap::kHedgehog ? 2 : map == FeatureMap::kDpfp ? 2 * kRotations : 1;
}

void HeadFeatures::params(ParamList& out, const std::string& prefix, int64_t dim) {
  if (map == FeatureMap::kT2r || map == FeatureMap::kHedgehog)
    first.params(out, prefix + "layer.", dim, dim, map == FeatureMap::kHedgehog);
  if (map != FeatureMap::kElementwiseProduct) return;
  first.params(out, prefix + "layer1.", dim, dim);
  second.params(out, prefix + "layer2.", dim, dim);
}

at::Tensor HeadFeatures::operator()(const at::Tensor& x) const {
  switch (map) {
    case FeatureMap::kElu:
      return at::elu(x) + 1;
    case FeatureMap::kRelu:
      return at::relu(x);
    case FeatureMap::kIdentity:
      return x;
    case FeatureMap::kT2r:
      return at::relu(first(x));
    case FeatureMap::kElementwiseProduct:
      return first(x) * second(x);
    case FeatureMap::kHedgehog: {
      const at::Tensor y = 2 * first(x);
      return at::cat({y, -y}, -1).softmax(-1);
    }
    case FeatureMap::kDpfp:
      return dpfp(x);
  }
  TORCH_CHECK(false, "HeadFeatures: unknown map");
}

void CausalConvolution::params(ParamList& out, const std::string& prefix, int64_t channels, int64_t kernel,
                               bool with_bias) {
  out.add(prefix + "weight", weight, {channels, 1, kernel},
          Init::uniform(1.0 / std::sqrt(static_cast<double>(kernel))));
  if (with_bias) out.add(prefix + "bias", bias, {channels}, Init::zeros());
}

at::Tensor CausalConvolution::operator()(const at::Tensor& x, at::Tensor& past) const {
  const int64_t before = weight.size(-1) - 1;
  if (!past.defined()) past = at::zeros({x.size(0), before, x.size(2)}, x.options());
  const at::Tensor all = at::cat({past, x}, 1);  // [B, kernel - 1 + T, D]
  past = all.narrow(1, x.size(1), before);
  const auto offset = bias.defined() ? std::optional(bias.to(x.scalar_type())) : std::nullopt;
  const int64_t one = 1, none = 0;
  const at::Tensor y = at::conv1d(all.mT(), weight.to(x.scalar_type()), offset, /*stride=*/at::IntArrayRef(one),
                                  /*padding=*/at::IntArrayRef(none), /*dilation=*/at::IntArrayRef(one), x.size(2));
  return at::silu(y.mT());
}

}  // namespace tessera
