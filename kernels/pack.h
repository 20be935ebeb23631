#pragma once

#include "kernels/packed.h"

namespace tessera {

/// The types that pack() makes, in the order in which help lists them.
const std::vector<PackedType>& types_to_pack();

/// What --dtype calls a type: "fp8", "int8", "q8_0", "q4_k".
std::string packed_name(PackedType type);

/// Quantizes a matrix [rows, columns] of any floating dtype, on the CPU. Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are bit for
/// bit gguf.quants.quantize's. Q4_K is our own search for the scale and minimum of each 32 numbers with the least
/// squared error, weighted by size; the reference package makes no K types. int8 has one scale a row and rounds half to
/// even; fp8 has one scale for the matrix; both map the largest number to the largest code, as comfy-kitchen does.
/// Columns must be a multiple of format_of(type).numbers.
PackedWeight pack(const at::Tensor& numbers, PackedType type);

}  // namespace tessera
