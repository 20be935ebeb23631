#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/bfloat16_bits.h"

// Products in tile registers (AMX), of signed and unsigned bytes and of bfloat16, a square of 32 rows and 32 outputs at
// a time; need InstructionSet::kAmx.
namespace tessera {

constexpr int64_t kSquare = 32;                     ///< rows, and outputs, of a square
constexpr int64_t kStepRow = 64;                    ///< bytes of a row in one step
constexpr int64_t kStepBytes = kSquare * kStepRow;  ///< of all rows, or outputs, of a square
constexpr int64_t kSquareSums = kSquare * kSquare;  ///< numbers

/// Steps of a row of `inputs` numbers.
inline int64_t tile_steps(int64_t inputs) {
  return (inputs + kStepRow - 1) / kStepRow;
}

/// Rows and outputs as tile registers take them. What a row lacks to whole steps is zero; rows that the last square
/// lacks may be anything.
struct TileOperands {
  int64_t steps;
  const int8_t* rows;     ///< [square][step][32 rows][64 bytes]
  const uint8_t* panels;  ///< [panel of 32 outputs][step][16 groups][32 outputs][4 bytes]
};

/// While it lives, this thread's tile registers are configured.
class TileRegisters {
 public:
  TileRegisters();
  ~TileRegisters();
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

/// Before registers are loaded: what was written is in memory. GCC 12's loads of them do not tell the compiler that
/// they read it.
inline void settle_memory() {
  asm volatile("" ::: "memory");
}

/// Some steps of the sums [32, 32] of a square's first `rows` rows (or a few more) and a panel; `add`: to what is
/// there. Needs a TileRegisters.
void multiply_square(const TileOperands& operands, int64_t square, int64_t panel, int64_t first_step, int64_t steps,
                     int64_t rows, bool add, int32_t* sums);

constexpr int64_t kRegisterRows = 16;   ///< of a register
constexpr int64_t kRegisterPairs = 16;  ///< pairs of bfloat16 in a row of a register: what one step multiplies
constexpr int64_t kRegisterValues = kRegisterRows * 2 * kRegisterPairs;

/// A square C = A B of bfloat16 products, their sums float32. A register of A holds 16 rows of 16 pairs; one of B 16
/// rows, one for each pair, of 16 columns of 2 values. Offsets are in values.
struct TileProduct {
  const Bfloat16Bits* a;
  int64_t a_row, a_step, a_lower;  ///< between rows, between steps, to the lower 16 rows
  const Bfloat16Bits* b;
  int64_t b_row, b_step, b_right;  ///< between rows of pairs, between steps, to the right 16 columns
  int64_t steps;
  float* c;
  int64_t c_row;
  bool lower = true;  ///< whether the lower 16 rows are wanted
  bool add = false;   ///< to what C holds
};

/// Needs a TileRegisters.
void multiply_square(const TileProduct& product);

/// Calls end(sums [32, 32], first row, rows, panel) for every square of the rows first_row (begins a square) to end_row
/// and panel. Steps are taken a few at a time, so that the rows and outputs of a square fit a first-level cache; every
/// sum runs over the steps in order, whatever the rows and panels.
template <class End>
void multiply_in_tiles(const TileOperands& operands, int64_t first_row, int64_t end_row, int64_t first_panel,
                       int64_t end_panel, const End& end) {
  constexpr int64_t kStepsAtOnce = 8;
  const TileRegisters configured;
  const int64_t first_square = first_row / kSquare, squares = (end_row - first_row + kSquare - 1) / kSquare;
  const bool once = operands.steps <= kStepsAtOnce;
  struct alignas(kStepRow) Line {
    int32_t sums[kStepRow / sizeof(int32_t)];
  };
  static thread_local std::vector<Line> scratch;
  scratch.resize(static_cast<size_t>((once ? 1 : squares * (end_panel - first_panel)) * kSquareSums * 4 / kStepRow));
  for (int64_t step = 0; step < operands.steps; step += kStepsAtOnce) {
    const int64_t steps = std::min(kStepsAtOnce, operands.steps - step);
    for (int64_t panel = first_panel; panel < end_panel; ++panel)
      for (int64_t square = 0; square < squares; ++square) {
        const int64_t row = first_row + square * kSquare, rows = std::min(kSquare, end_row - row);
        int32_t* sums = scratch.data()->sums + (once ? 0 : (panel - first_panel) * squares + square) * kSquareSums;
        multiply_square(operands, first_square + square, panel, step, steps, rows, step > 0, sums);
        if (step + steps == operands.steps) end(sums, row, rows, panel);
      }
  }
}

}  // namespace tessera
