#include "kernels/tile_products.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TESSERA_AMX_CODE [[gnu::target("avx512f,amx-tile,amx-int8,amx-bf16")]]

namespace tessera {
namespace {

constexpr int64_t kTile = kRegisterRows;
constexpr int64_t kGroupBytes = 128;       // of a panel
constexpr int64_t kSumsRow = kSquare * 4;  // bytes

/// The operand of LDTILECFG: all eight registers of 16 rows of 64 bytes.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr TileShapes kShapes;  // in memory: GCC 12 counts eight of the bytes that LDTILECFG reads

// GCC 12 does not give a destructor's clones its attribute.
TESSERA_AMX_CODE void configure() {
  _tile_loadconfig(&kShapes);
}

TESSERA_AMX_CODE void release() {
  _tile_release();
}

// Registers 0 to 3 hold the sums (upper left, upper right, lower left, lower right), 4 and 5 the rows, 6 and 7 the
// outputs.

/// The upper half of a square's sums, or all of them.
template <bool kWhole>
TESSERA_AMX_CODE void multiply(const int8_t* rows, const uint8_t* panel, int64_t steps, bool add, int32_t* sums) {
  settle_memory();
  int32_t *right = sums + kTile, *lower = sums + kTile * kSquare, *last = lower + kTile;
  if (add) {
    _tile_loadd(0, sums, kSumsRow);
    _tile_loadd(1, right, kSumsRow);
    if constexpr (kWhole) _tile_loadd(2, lower, kSumsRow);
    if constexpr (kWhole) _tile_loadd(3, last, kSumsRow);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kWhole) _tile_zero(2);
    if constexpr (kWhole) _tile_zero(3);
  }
  for (int64_t step = 0; step < steps; ++step, rows += kStepBytes, panel += kStepBytes) {
    _tile_loadd(4, rows, kStepRow);
    _tile_loadd(6, panel, kGroupBytes);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, panel + kStepRow, kGroupBytes);
    _tile_dpbsud(1, 4, 7);
    if constexpr (kWhole) {
      _tile_loadd(5, rows + kTile * kStepRow, kStepRow);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, sums, kSumsRow);
  _tile_stored(1, right, kSumsRow);
  if constexpr (kWhole) _tile_stored(2, lower, kSumsRow);
  if constexpr (kWhole) _tile_stored(3, last, kSumsRow);
}

/// The upper half of a square of bfloat16 products, or all of it.
template <bool kWhole>
TESSERA_AMX_CODE void multiply(const TileProduct& m) {
  settle_memory();
  const int64_t value = sizeof(Bfloat16Bits), a_row = m.a_row * value, b_row = m.b_row * value, c_row = m.c_row * 4;
  float *right = m.c + kTile, *lower = m.c + kTile * m.c_row, *last = lower + kTile;
  if (m.add) {
    _tile_loadd(0, m.c, c_row);
    _tile_loadd(1, right, c_row);
    if constexpr (kWhole) _tile_loadd(2, lower, c_row);
    if constexpr (kWhole) _tile_loadd(3, last, c_row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kWhole) _tile_zero(2);
    if constexpr (kWhole) _tile_zero(3);
  }
  const Bfloat16Bits *a = m.a, *b = m.b;
  for (int64_t step = 0; step < m.steps; ++step, a += m.a_step, b += m.b_step) {
    _tile_loadd(4, a, a_row);
    _tile_loadd(6, b, b_row);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + m.b_right, b_row);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kWhole) {
      _tile_loadd(5, a + m.a_lower, a_row);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, m.c, c_row);
  _tile_stored(1, right, c_row);
  if constexpr (kWhole) _tile_stored(2, lower, c_row);
  if constexpr (kWhole) _tile_stored(3, last, c_row);
}

}  // namespace

TileRegisters::TileRegisters() {
  configure();
}

TileRegisters::~TileRegisters() {
  release();
}

void multiply_square(const TileOperands& operands, int64_t square, int64_t panel, int64_t first_step, int64_t steps,
                     int64_t rows, bool add, int32_t* sums) {
  const int8_t* from = operands.rows + (square * operands.steps + first_step) * kStepBytes;
  const uint8_t* by = operands.panels + (panel * operands.steps + first_step) * kStepBytes;
  if (rows > kTile)
    multiply<true>(from, by, steps, add, sums);
  else
    multiply<false>(from, by, steps, add, sums);
}

void multiply_square(const TileProduct& product) {
  product.lower ? multiply<true>(product) : multiply<false>(product);
}

}  // namespace tessera

#endif  // x86_64
