#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>

#include "core/json_config.h"
#include "models/wan/transformer.h"

namespace tessera {

/// The networks of a plan, with random weights, and a product of two matrices. A plan is
/// {"transformer": WanTransformer3DModel's config, "text": rows of the context, "product": rows of square matrices,
///  "parts": {NAME: {"attention": AttentionConfig's object, "grid": tokens [frames, height, width]}}};
/// bench/gpu/plan.py writes it, and bench/gpu/peer.py reads it too.
class BenchNetworks {
 public:
  /// Everything is made on `device` at its first use, in `dtype`.
  BenchNetworks(JsonConfig plan, at::Device device, at::ScalarType dtype);

  /// One forward pass of a part, as the sampler calls it from its second step on (the keys of the text are kept), or
  /// the product where `name` is "product". Throws Error for a part that the plan lacks.
  at::Tensor run(const std::string& name);

 private:
  struct Network {
    WanTransformer transformer;
    WanKeptKeys kept;
  };
  Network& network_of(const JsonConfig& part);
  const at::Tensor& random(const std::vector<int64_t>& shape);

  JsonConfig plan_;
  at::TensorOptions options_;
  std::map<std::string, std::unique_ptr<Network>> networks_;  // by their attention: sizes share one
  std::map<std::vector<int64_t>, at::Tensor> inputs_;         // by their shape
};

}  // namespace tessera
