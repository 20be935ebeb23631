#include "checkpoints/load_part.h"

#include <algorithm>
#include <map>

#include "weights/names.h"

namespace tessera {

TensorFile read_component(const Component& part) {
  return canonical_tensors(read_weights(part), part.class_name);
}

at::ScalarType most_common_dtype(const TensorFile& file) {
  std::map<at::ScalarType, int64_t> numbers;
  for (const auto& [name, tensor] : file.tensors()) numbers[tensor.scalar_type()] += tensor.numel();
  const auto most = std::max_element(numbers.begin(), numbers.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == numbers.end() ? at::kFloat : most->first;
}

}  // namespace tessera
