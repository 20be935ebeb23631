#include "models/attention/causal_mhla.h"

#include <tessera/causal_mhla.h>

#include "api/translated.h"
#include "weights/bind.h"
#include "weights/safetensors.h"

namespace tessera::api {
namespace {

FeatureMap map_of(CausalMhlaConfig::FeatureMap map) {
  switch (map) {
    case CausalMhlaConfig::FeatureMap::kElu:
      return FeatureMap::kElu;
    case CausalMhlaConfig::FeatureMap::kRelu:
      return FeatureMap::kRelu;
    case CausalMhlaConfig::FeatureMap::kIdentity:
      return FeatureMap::kIdentity;
    case CausalMhlaConfig::FeatureMap::kT2r:
      return FeatureMap::kT2r;
    case CausalMhlaConfig::FeatureMap::kElementwiseProduct:
      return FeatureMap::kElementwiseProduct;
    case CausalMhlaConfig::FeatureMap::kHedgehog:
      return FeatureMap::kHedgehog;
    case CausalMhlaConfig::FeatureMap::kDpfp:
      return FeatureMap::kDpfp;
  }
  TORCH_CHECK(false, "CausalMhla: unknown feature map");
}

tessera::CausalMhlaConfig settings_of(const CausalMhlaConfig& config) {
  return {.hidden_size = config.hidden_size,
          .heads = config.heads,
          .expand_k = config.expand_k,
          .expand_v = config.expand_v,
          .feature_map = map_of(config.feature_map),
          .chunk = config.chunk,
          .most_chunks = config.most_chunks,
          .norm_eps = config.norm_eps,
          .kv_heads = config.kv_heads,
          .output_gate = config.output_gate,
          .norm_weight = config.norm_weight,
          .conv_size = config.conv_size,
          .conv_bias = config.conv_bias};
}

/// The tensors of `file` whose names begin with `prefix`, by what follows it.
TensorFile part_of(const TensorFile& file, const std::string& prefix) {
  std::map<std::string, at::Tensor> part;
  for (const auto& [name, tensor] : file.tensors())
    if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
  return {std::move(part), file.where()};
}

}  // namespace

struct CausalMhla::Layer {
  explicit Layer(const CausalMhlaConfig& config) : layer(settings_of(config)) {}
  CausalMhlaLayer layer;
};

struct CausalMhla::Sequence::State {
  const CausalMhlaLayer& layer;
  CausalMhlaState state;
};

CausalMhla::CausalMhla(const CausalMhlaConfig& config, const std::string& file, const std::string& prefix) {
  translated([&] {
    layer_ = std::make_unique<Layer>(config);
    ParamList params;
    layer_->layer.params(params, "");
    bind(params, part_of(read_safetensors(file), prefix), at::kFloat, at::kCPU);
  });
}
CausalMhla::~CausalMhla() = default;
CausalMhla::CausalMhla(CausalMhla&&) noexcept = default;
CausalMhla& CausalMhla::operator=(CausalMhla&&) noexcept = default;

at::Tensor CausalMhla::operator()(const at::Tensor& x) const {
  return layer_->layer(x);
}

CausalMhla::Sequence CausalMhla::begin() const {
  return Sequence(std::make_unique<Sequence::State>(Sequence::State{layer_->layer, layer_->layer.begin()}));
}

CausalMhla::Sequence::Sequence(std::unique_ptr<State> state) : state_(std::move(state)) {}
CausalMhla::Sequence::~Sequence() = default;
CausalMhla::Sequence::Sequence(Sequence&&) noexcept = default;

at::Tensor CausalMhla::Sequence::step(const at::Tensor& x) {
  return state_->layer.step(x, state_->state);
}

}  // namespace tessera::api
