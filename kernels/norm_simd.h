#pragma once

#include <cstdint>

#include "kernels/bfloat16_bits.h"

namespace tessera {

/// What n values x are multiplied with.
enum class NormScale {
  kRootMeanSquare,  ///< 1 / sqrt(mean(x^2) + eps)
  kLength           ///< sqrt(n) / max(|x|, eps)
};

/// What follows scale and weight.
enum class NormEpilogue {
  kNone,
  kSilu,
  kRotatedFeatures,  ///< relu + 1e-6, then rotation of the pairs of a head
  kRotated           ///< rotation alone
};

/// Where the rows of a normalization lie and what happens to them. There are `rows` rows of `heads` heads of `head_dim`
/// values; row r is token r % tokens of sample r / tokens. Head h of a row of x begins at
/// sample * x_sample + x_token[token] + h * x_head (in values), of y likewise.
struct NormRows {
  NormScale scale;
  NormEpilogue epilogue;
  int64_t rows, tokens, heads, head_dim;
  int64_t x_sample, x_head, y_sample, y_head;
  const int64_t *x_token, *y_token;
  bool each_head;  ///< one norm and weight [head_dim] for each head; otherwise one a row, weight [heads * head_dim]
  const float* weight;
  float eps;
  const float *cosines, *sines;  ///< [tokens, head_dim], only read for kRotatedFeatures and kRotated

  int64_t norms() const { return each_head ? rows * heads : rows; }
};

/// y = epilogue(x * scale * weight) for the rows begin to end; `scales` [norms()] receives the scales. `unrotated`,
/// where given (laid out like y), receives the features before rotation. Values are float or Bfloat16Bits, arithmetic
/// is float32, vectorized for the machine.
template <typename In, typename Out>
void norm_rows(const NormRows& layout, int64_t begin, int64_t end, const In* x, Out* y, float* unrotated,
               float* scales);

/// The gradient: writes dx (laid out like x), adds to dweight; `dunrotated` may be null; `scratch` holds a row.
template <typename In, typename Out>
void norm_rows_backward(const NormRows& layout, int64_t begin, int64_t end, const In* x, const float* scales,
                        const Out* dy, const float* dunrotated, In* dx, float* dweight, float* scratch);

}  // namespace tessera
