#pragma once

#include <cstdint>

#include "kernels/simd.h"

namespace tessera {

/// Where the rows of a normalization lie and what happens to them. There are `rows` rows of `pieces` pieces (heads) of
/// `piece` values; row r is token r % tokens of sample r / tokens. Piece h of a row of x begins at
/// sample * x_sample + x_token[token] + h * x_piece (in values), of y likewise.
struct NormRows {
  int64_t rows, tokens, pieces, piece;
  int64_t x_sample, x_piece, y_sample, y_piece;
  const int64_t *x_token, *y_token;
  bool each_piece;  ///< one norm and weight [piece] for each piece; otherwise one for the row, weight [pieces * piece]
  const float* weight;
  float eps;
  const float *cosines, *sines;  ///< null, or [tokens, piece]: apply relu + 1e-6, then rotate pairs of a piece

  int64_t norms() const { return each_piece ? rows * pieces : rows; }
};

/// scale = 1 / sqrt(mean(x^2) + eps), y = x * scale * weight, then relu + 1e-6 and rotation when asked for; `plain`,
/// where given (laid out like y), receives the value before rotation. Rows begin to end. Values are float or
/// Bfloat16Bits, arithmetic is float32, vectorized for the machine it runs on.
template <typename In, typename Out>
void norm_rows(const NormRows& layout, int64_t begin, int64_t end, const In* x, Out* y, float* plain, float* scale);

/// The gradient: writes dx (laid out like x), adds to dweight; `dplain` may be null; `scratch` has room for a row.
template <typename In, typename Out>
void norm_rows_backward(const NormRows& layout, int64_t begin, int64_t end, const In* x, const float* scale,
                        const Out* dy, const float* dplain, In* dx, float* dweight, float* scratch);

/// GELU in its tanh form, and dx = dy * its slope.
template <typename Value>
void gelu_values(const Value* x, int64_t count, Value* y);
template <typename Value>
void gelu_values_backward(const Value* x, const Value* dy, int64_t count, Value* dx);

}  // namespace tessera
