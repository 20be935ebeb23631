#pragma once

#include <cstdint>

namespace tessera {

/// Whether there is a regular Hadamard matrix of this size here: 4, 16, 64, 256, 1024, 4096.
bool is_hadamard_size(int64_t size);

/// Multiplies `size` numbers in place by the regular Hadamard matrix, divided by the root of its size: the Kronecker
/// power of [[1 1 1 -1] [1 1 -1 1] [1 -1 1 1] [-1 1 1 1]]. It is symmetric and its own inverse. Source: ConvRot, as in
/// comfy-kitchen's int8 weights.
void hadamard(float* numbers, int64_t size);

}  // namespace tessera
