#pragma once

#include <cstdint>

#include "kernels/bfloat16_bits.h"

// Matrix products C = A B in 512-bit lanes, sixteen columns of B at a time, from which attention is built. All need
// InstructionSet::kAvx512Bf16. Values are float32, or bfloat16 whose products are summed in float32 two at a time. B
// lies in strips of 64 columns, the last one narrower; a strip holds [step][column][kLaneStep] values, where a step is
// as much of the inner axis as one instruction takes.
namespace tessera {

/// Columns of a strip of B.
constexpr int64_t kLaneStrip = 64;

/// Rows of C that one pass over a strip computes; other numbers work, more slowly.
constexpr int64_t kLaneRows = 6;

/// Rows of B in a step.
template <typename Value>
constexpr int64_t kLaneStep = 1;
template <>
inline constexpr int64_t kLaneStep<Bfloat16Bits> = 2;

/// Steps of `inner` rows of B, the last one filled up with zeros.
template <typename Value>
constexpr int64_t lane_steps(int64_t inner) {
  return (inner + kLaneStep<Value> - 1) / kLaneStep<Value>;
}

/// Whether this machine adds products of bfloat16 pairs faster than of float32. vdpbf16ps counts four times the
/// products of an instruction of vfmadd on AMD (Zen 4: 1 of either a cycle); on Intel it runs at a quarter of its
/// rate: Emerald Rapids, measured: 0.5 and 2 a cycle, 84 and 171 GFLOP/s a core.
bool prefers_bfloat16_products();

/// One strip of columns. Offsets are in values.
template <typename Value>
struct LaneProduct {
  const Value* a;  ///< step s of row r begins at r * a_row + s * a_step
  int64_t a_row, a_step;
  const Value* b;  ///< the strip from its first step on
  int64_t b_step;  ///< values between its steps
  int64_t steps;
  float* c;  ///< row r begins at r * c_row
  int64_t c_row;
  const float* kept = nullptr;  ///< null: C is overwritten; otherwise row r is multiplied by kept[r] and added to
};

/// Computes `rows` rows of `columns` (16, 32, 48 or 64) columns on this thread. A row's result depends on no other row.
template <typename Value>
void multiply_lanes(const LaneProduct<Value>& product, int64_t rows, int64_t columns);

/// Writes one step of a B of `columns` columns (a multiple of 16) and `steps` steps: `first` and, for bfloat16, the row
/// after it, `second` (null: zeros), of `count` values each; zeros beyond.
void pack_lanes(const uint16_t* first, const uint16_t* second, int64_t count, int64_t columns, int64_t step,
                int64_t steps, Bfloat16Bits* b);
void pack_lanes(const uint16_t* first, const uint16_t* second, int64_t count, int64_t columns, int64_t step,
                int64_t steps, float* b);

/// Writes zeros into the steps of such a B from `first` on.
void clear_lanes(int64_t columns, int64_t first, int64_t steps, Bfloat16Bits* b);

/// Columns of the strip that begins at `column` (a multiple of 64) of `columns`.
constexpr int64_t strip_width(int64_t column, int64_t columns) {
  return columns - column < kLaneStrip ? columns - column : kLaneStrip;
}

/// Where that strip begins in a B of `steps` steps, in values.
template <typename Value>
constexpr int64_t strip_offset(int64_t column, int64_t steps) {
  return column * steps * kLaneStep<Value>;
}

}  // namespace tessera
