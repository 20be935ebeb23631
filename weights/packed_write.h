#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "kernels/packed.h"
#include "weights/safetensors.h"

namespace tessera {

/// How each packed tensor of a file is to be stored; tensors that it lacks are stored plain.
using PackingPlan = std::map<std::string, PackedType>;

/// A tensor packed as the plan says: itself when it is packed so, else its numbers quantized (kernels/pack.h).
PackedWeight packed_for(const at::Tensor& tensor, PackedType type);

/// Writes tensors of a network of class `class_name` to stem + ".gguf" when the plan has block types, under the names
/// of such files (names_in_gguf), else to stem + ".safetensors" in ComfyUI's form: NAME.weight, NAME.weight_scale and
/// `_quantization_metadata` in the header. Plain floating-point tensors are converted to `dtype` when it is given; in
/// GGUF those of one axis become float32, as its readers expect. Tensors are made one at a time. Throws Error when the
/// plan mixes both kinds.
void write_packed(const std::filesystem::path& stem, const std::string& class_name,
                  const std::map<std::string, at::Tensor>& tensors, const PackingPlan& plan,
                  std::map<std::string, std::string> metadata, std::optional<at::ScalarType> dtype);

}  // namespace tessera
