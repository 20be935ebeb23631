#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "kernels/packed.h"
#include "weights/safetensors.h"

namespace tessera {

/// A tensor of a GGUF file: a plain one (float32, float16, bfloat16, float64), or the blocks of a packed type, which
/// `make` returns as uint8 [bytes] while `shape` is the network's.
struct GgufTensor {
  std::optional<PackedType> packed;
  TensorToWrite tensor;
};

/// Writes a GGUF file of version 3 through AtomicFile, with general.architecture and what ggml's readers want to know.
/// Tensors are made one at a time. Shapes may have more than ggml's four sizes, as in the files of others.
void write_gguf(const std::filesystem::path& path, const std::string& architecture,
                const std::map<std::string, GgufTensor>& tensors);

}  // namespace tessera
