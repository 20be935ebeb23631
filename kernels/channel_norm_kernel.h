#pragma once

#include <cstdint>

#include "kernels/bfloat16_bits.h"

namespace tessera {

/// For each of `rows` rows of `channels` values: inverse = sqrt(channels) / max(|x|, 1e-12), n = x * inverse * gain, y
/// = n or, with `silu`, n * sigmoid(n). Value is float or Bfloat16Bits; arithmetic is float32, vectorized for the
/// machine it runs on.
template <typename Value>
void normalize_rows(const Value* x, const float* gain, bool silu, int64_t rows, int64_t channels, Value* y,
                    float* inverse);

/// The gradient of normalize_rows: writes dx, adds to dgain [channels].
template <typename Value>
void normalize_rows_backward(const Value* x, const float* gain, const float* inverse, const Value* dy, bool silu,
                             int64_t rows, int64_t channels, Value* dx, float* dgain);

}  // namespace tessera
