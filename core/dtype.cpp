#include "core/dtype.h"

#include <algorithm>

namespace tessera {

const std::vector<DtypeName>& dtype_names() {
  static const std::vector<DtypeName> names = {
      {at::kFloat, "fp32", {"float32", "float"}},
      {at::kBFloat16, "bf16", {"bfloat16"}},
      {at::kHalf, "fp16", {"float16", "half"}},
  };
  return names;
}

std::optional<at::ScalarType> find_dtype(const std::string& name) {
  for (const DtypeName& known : dtype_names())
    if (known.name == name || std::find(known.aliases.begin(), known.aliases.end(), name) != known.aliases.end())
      return known.dtype;
  return std::nullopt;
}

std::string dtype_name(at::ScalarType dtype) {
  for (const DtypeName& known : dtype_names())
    if (known.dtype == dtype) return known.name;
  return c10::toString(dtype);
}

std::string long_dtype_name(at::ScalarType dtype) {
  for (const DtypeName& known : dtype_names())
    if (known.dtype == dtype) return known.aliases.front();
  return c10::toString(dtype);
}

std::vector<std::string> dtype_choices(const std::string& first) {
  std::vector<std::string> choices = {first};
  for (const DtypeName& known : dtype_names()) choices.push_back(known.name);
  return choices;
}

}  // namespace tessera
