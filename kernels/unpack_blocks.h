#pragma once

#include <cstdint>

#include "kernels/packed.h"

namespace tessera {

/// Decodes `count` whole blocks of a type to count * numbers float32 values, without scales of PackedWeight. The
/// arithmetic is that of gguf.quants.dequantize, bit for bit. Source: the block layouts of ggml.
void unpack_blocks(PackedType type, const uint8_t* blocks, int64_t count, float* out);

}  // namespace tessera
