#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <map>

#include "models/inception/inception.h"

namespace tessera::test {

/// The weight `name` of the inception fixture's formula: an integer hash of name, place and seed (see its config.json).
inline at::Tensor formula_weight(const std::string& name, const std::vector<int64_t>& shape, uint32_t seed) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  at::Tensor out = at::empty(shape, at::kFloat);
  float* values = out.data_ptr<float>();
  const bool matrix = name.ends_with("conv.weight") || name == "fc.weight";
  const double fan_in = static_cast<double>(out.numel()) / static_cast<double>(shape[0]);
  const auto bound = static_cast<float>(std::sqrt(6.0 / fan_in));
  for (int64_t j = 0; j < out.numel(); ++j) {
    uint32_t x = static_cast<uint32_t>(j) * 0x9E3779B1u + hash + seed;
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    x ^= x >> 16;
    const float u = static_cast<float>(x >> 8) * 0x1p-23f - 1.0f;
    values[j] = matrix                             ? u * bound
                : name.ends_with("bn.weight")      ? 1.0f + 0.25f * u
                : name.ends_with("bn.running_var") ? 1.0f + 0.5f * u
                                                   : 0.25f * u;
  }
  return out;
}

/// Every tensor of the checkpoint, by its name.
inline std::map<std::string, at::Tensor> formula_weights(uint32_t seed) {
  Inception inception;
  ParamList list;
  inception.params(list);
  std::map<std::string, at::Tensor> tensors;
  for (const Param& param : list) tensors[param.name] = formula_weight(param.name, param.shape, seed);
  return tensors;
}

inline void fill_by_formula(Inception& inception, uint32_t seed) {
  ParamList list;
  inception.params(list);
  for (const Param& param : list) *param.slot = formula_weight(param.name, param.shape, seed);
}

}  // namespace tessera::test
