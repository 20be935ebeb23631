#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <vector>

namespace tessera {

/// A dtype that weights are computed with or stored in, by its names.
struct DtypeName {
  at::ScalarType dtype;
  std::string name;                  ///< as flags, recipes and reports have it: "fp32"
  std::vector<std::string> aliases;  ///< accepted wherever the name is: "float32", "float"; the long name first
};

/// The choice of --dtype that multiplies in int8: not a dtype of tensors (see choose_precision in core/device.h).
inline constexpr const char* kInt8Dtype = "int8";

/// The one table of these names: fp32, bf16 and fp16.
const std::vector<DtypeName>& dtype_names();

/// The dtype of that name or alias; nullopt for any other text.
std::optional<at::ScalarType> find_dtype(const std::string& name);

/// "fp32", "bf16", "fp16" for those dtypes, else ATen's name.
std::string dtype_name(at::ScalarType dtype);

/// "float32", "bfloat16", "float16" for those dtypes, as score reports and statistics files have them, else ATen's
/// name.
std::string long_dtype_name(at::ScalarType dtype);

/// `first`, e.g. "auto", and the names of all dtypes: the choices of a --dtype flag.
std::vector<std::string> dtype_choices(const std::string& first);

}  // namespace tessera
