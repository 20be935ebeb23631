#include "bench/gpu/networks.h"

#include <ATen/ATen.h>

namespace tessera {
namespace {

/// Fills every slot on the device. Nothing is left zero, which multiplies faster: products of zeros take less power.
void randomize(const ParamList& params, const at::TensorOptions& options) {
  for (const Param& param : params) {
    const at::TensorOptions own = param.keep_float ? options.dtype(at::kFloat) : options;
    const bool is_mixing = param.init.kind == Init::Kind::kValue, is_scale = param.init.kind == Init::Kind::kOnes;
    if (is_mixing)
      *param.slot = param.init.value().to(own);
    else
      *param.slot = at::empty(param.shape, own).normal_(is_scale ? 1 : 0, 0.02);
  }
}

}  // namespace

BenchNetworks::BenchNetworks(JsonConfig plan, at::Device device, at::ScalarType dtype)
    : plan_(std::move(plan)), options_(at::TensorOptions().device(device).dtype(dtype)) {}

const at::Tensor& BenchNetworks::random(const std::vector<int64_t>& shape) {
  at::Tensor& input = inputs_[shape];
  if (!input.defined()) input = at::randn(shape, options_);
  return input;
}

BenchNetworks::Network& BenchNetworks::network_of(const JsonConfig& part) {
  const JsonConfig attention = part.object("attention");
  std::unique_ptr<Network>& network = networks_[attention.json().dump()];
  if (!network) {
    nlohmann::json config = plan_.object("transformer").json();
    config["attention"] = attention.json();
    network.reset(new Network{WanTransformer(WanTransformerConfig::from_json({config, plan_.where()})), {}});
    ParamList params;
    network->transformer.params(params);
    randomize(params, options_);
  }
  return *network;
}

at::Tensor BenchNetworks::run(const std::string& name) {
  if (name == "product") {
    const int64_t rows = plan_.integer("product");
    return at::mm(random({rows, rows}), random({1, rows, rows})[0]);  // two of different shapes, hence different
  }
  const JsonConfig part = plan_.object("parts").object(name);
  Network& network = network_of(part);
  const WanTransformerConfig& config = network.transformer.config();
  std::vector<int64_t> latents{1, config.in_channels};
  const std::vector<int64_t> grid = part.integers("grid");
  if (grid.size() != 3) part.fail("grid", "must hold three sizes");
  for (size_t axis = 0; axis < 3; ++axis) latents.push_back(grid[axis] * config.patch_size[axis]);
  const at::Tensor& context = random({1, plan_.integer("text"), config.text_dim});
  return network.transformer(random(latents), at::full({1}, 500.0, options_.dtype(at::kFloat)), context, nullptr,
                             nullptr, {}, &network.kept);
}

}  // namespace tessera
