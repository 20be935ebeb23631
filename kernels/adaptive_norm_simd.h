#pragma once

#include <cstdint>

#include "kernels/bfloat16_bits.h"

namespace tessera {

/// Rows of `channels` values, `tokens` of them for each sample, with a factor and an offset [samples, channels].
struct AdaptiveRows {
  int64_t channels, tokens;
  const float *factor, *offset;
  float eps;
};

/// y = (x - mean) / sqrt(variance + eps) * factor + offset for the rows begin to end. Value is float or Bfloat16Bits.
template <typename Value>
void adaptive_norm_rows(const AdaptiveRows& rows, int64_t begin, int64_t end, const Value* x, Value* y);

}  // namespace tessera
