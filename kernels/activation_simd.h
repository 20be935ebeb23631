#pragma once

#include <cstdint>

#include "kernels/bfloat16_bits.h"

namespace tessera {

/// What may follow a product.
enum class Activation {
  kNone,
  kGelu  ///< its tanh form
};

/// y = GELU(x) in its tanh form for `count` values. Value is float or Bfloat16Bits; arithmetic is float32, vectorized
/// for the machine.
template <typename Value>
void gelu(const Value* x, int64_t count, Value* y);

/// dx = dy * GELU'(x).
template <typename Value>
void gelu_backward(const Value* x, const Value* dy, int64_t count, Value* dx);

}  // namespace tessera
