#pragma once

#include <filesystem>

#include "weights/safetensors.h"

namespace tessera {

/// Whether a file begins as a GGUF file does; false when it cannot be read.
bool is_gguf(const std::filesystem::path& path);

/// Maps a GGUF file (version 2 or 3, little-endian). Shapes are those of the network: GGUF's sizes reversed, or what
/// the key comfy.gguf.orig_shape.NAME says. F32, F16, BF16 and F64 become plain tensors in the map; Q4_0, Q4_1, Q5_0,
/// Q5_1, Q8_0 and Q2_K to Q6_K become packed tensors (kernels/packed.h), whose blocks stay in the map. Strings and
/// single numbers among the keys are the metadata. Throws Error naming the file and the key or tensor when anything is
/// wrong: truncated, overlapping, out of range, of a type that is not read, named twice.
/// Source: the GGUF specification of ggml.
TensorFile read_gguf(const std::filesystem::path& path);

}  // namespace tessera
