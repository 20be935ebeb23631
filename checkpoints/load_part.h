#pragma once

#include <algorithm>
#include <map>

#include "checkpoints/wan/model.h"
#include "core/device.h"
#include "core/params.h"
#include "weights/bind.h"

namespace tessera {

/// The dtype that holds most of the file's numbers.
inline at::ScalarType most_common_dtype(const TensorFile& file) {
  std::map<at::ScalarType, int64_t> numbers;
  for (const auto& [name, tensor] : file.tensors()) numbers[tensor.scalar_type()] += tensor.numel();
  const auto most = std::max_element(numbers.begin(), numbers.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == numbers.end() ? at::kFloat : most->first;
}

/// A network with the weights of `file` (under our names), computing in what `dtype` names (see choose_dtype).
template <class Part, class Config>
Loaded<Part> load_part(const TensorFile& file, const Config& config, const std::string& dtype, at::Device device) {
  Loaded<Part> loaded{Part(config), at::kFloat};
  ParamList params;
  loaded.part.params(params);
  loaded.dtype = choose_dtype(dtype, device, most_common_dtype(file), params.count());
  bind(params, file, loaded.dtype, device);
  return loaded;
}

/// Throws what load_part would throw; takes no memory.
template <class Part, class Config>
void check_part(const TensorFile& file, const Config& config) {
  Part part(config);
  ParamList params;
  part.params(params);
  bind(params, file, most_common_dtype(file), at::kCPU);
}

}  // namespace tessera
