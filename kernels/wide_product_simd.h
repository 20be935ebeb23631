#pragma once

#include <cstdint>

#include "kernels/activation_simd.h"
#include "kernels/bfloat16_bits.h"

// Products of bfloat16 matrices in float32 arithmetic: numbers are widened on the way into the caches. Products of two
// are exact, so nothing is lost against instructions for bfloat16.
namespace tessera {

/// y [rows, outputs] = activation(x [rows, inputs] w^T + bias), all contiguous; w is [outputs, inputs].
struct WideProduct {
  const Bfloat16Bits *x, *w;
  const float* bias;  ///< [outputs] or null
  Activation activation;
  int64_t inputs, outputs;
  Bfloat16Bits* y;
};

constexpr int64_t kWideColumns = 128;  ///< outputs that are computed together

/// Whether this machine has the instructions (AVX-512).
bool has_wide_product();

/// Float32 numbers of scratch memory that wide_product needs for so many rows.
int64_t wide_scratch(int64_t rows, int64_t inputs);

/// Rows begin to end of y, its columns from first_output (a multiple of kWideColumns) up to kWideColumns on. Sums run
/// over the inputs in order, whatever the rows. Throws c10::Error without has_wide_product().
void wide_product(const WideProduct& product, int64_t begin, int64_t end, int64_t first_output, float* scratch);

/// Whether multiplying bfloat16 by float32 instructions is faster than by those for bfloat16: true without the latter;
/// else false with AMX, and without it unless prefers_bfloat16_products() (kernels/lane_products.h). A property of the
/// processor and never a timing, so that equal machines give equal bytes.
bool bfloat16_is_slow();

}  // namespace tessera
