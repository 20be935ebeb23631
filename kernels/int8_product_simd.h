#pragma once

#include <cstdint>

#include "kernels/activation_simd.h"
#include "kernels/bfloat16_bits.h"
#include "kernels/instruction_set.h"
#include "kernels/tile_products.h"

namespace tessera {

constexpr int64_t kInt8Panel = kSquare;  ///< columns that are computed together
constexpr int64_t kInt8Group = 4;        ///< neighboring inputs that one instruction multiplies

/// Groups of a row of `inputs` numbers.
inline int64_t int8_groups(int64_t inputs) {
  return (inputs + kInt8Group - 1) / kInt8Group;
}

/// A weight [outputs, inputs]: number = (code - 128) * scale of its output. Codes are laid out
/// [panel][group of inputs][output of the panel][input of the group], groups up to a multiple of 16 (a step of
/// kernels/tile_products.h); those beyond the weight are 128.
struct Int8Weight {
  int64_t outputs, inputs;
  const uint8_t* codes;
  const float* scales;  ///< [outputs]

  int64_t panels() const { return (outputs + kInt8Panel - 1) / kInt8Panel; }
  int64_t panel_bytes() const { return tile_steps(inputs) * kStepBytes; }
};

/// How the codes of rows are laid out, tile by tile: as [group][row of the tile][input of the group] in tiles of 12
/// rows, or as kernels/tile_products.h has them, the tiles being its squares.
struct Int8Layout {
  bool squares = instruction_set() >= InstructionSet::kAmx;

  int64_t rows() const { return squares ? kSquare : 12; }  ///< of a tile
  int64_t tile_bytes(int64_t inputs) const {
    return squares ? tile_steps(inputs) * kStepBytes : rows() * int8_groups(inputs) * kInt8Group;
  }
};

/// Rows of activations: number = code * scale of its row.
struct Int8Rows {
  Int8Layout layout;
  int8_t* codes;  ///< whole tiles; rows that the last one lacks may be anything
  float* scales;  ///< [rows]; NaN or infinite for a row that holds such a number
  int32_t* sums;  ///< [rows]: of the codes
};

/// Quantizes the rows begin to end of x [rows, inputs]: scale = largest magnitude / 127, code = x / scale rounded to
/// nearest even. Value is float or Bfloat16Bits.
template <typename Value>
void quantize_rows(const Value* x, int64_t inputs, int64_t begin, int64_t end, const Int8Rows& to);

/// Quantizes `count` outputs (at most kInt8Panel) of a weight, w [count, inputs], into `panel`, whose other codes it
/// leaves, and writes their scales: largest magnitude / 127, 1 for an output of zeros. A code is w / scale rounded to
/// nearest even. Value is float or Bfloat16Bits.
template <typename Value>
void quantize_panel(const Value* w, int64_t inputs, int64_t count, uint8_t* panel, float* scales);

/// The same for codes that are there already, [count, inputs].
void arrange_panel(const int8_t* codes, int64_t inputs, int64_t count, uint8_t* panel);

/// The codes of an output as numbers without its scale, [inputs].
void read_panel_row(const Int8Weight& weight, int64_t output, float* to);

/// Rows first_row to end_row (first_row begins a tile) and panels first_panel to end_panel of
/// y [rows, outputs] = activation(x W^T + bias). Sums are exact, so that a number of y depends on its row and output
/// alone. `bias` [outputs] may be null. At most 2^16 inputs.
template <typename Value>
void int8_product(const Int8Rows& x, const Int8Weight& weight, const float* bias, Activation activation,
                  int64_t first_row, int64_t end_row, int64_t first_panel, int64_t end_panel, Value* y);

}  // namespace tessera
