#include "kernels/direct_conv_tiles.h"

#include <algorithm>

#include "kernels/instruction_set.h"
#include "kernels/tile_products.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TESSERA_AMX_CODE [[gnu::target("avx512f,amx-tile,amx-bf16")]]
#endif

namespace tessera {
namespace {

constexpr int64_t kTile = 16;        // rows, and columns of float32, of a register
constexpr int64_t kStepValues = 32;  // of a row that one instruction multiplies

}  // namespace

bool can_convolve_in_tiles(const DirectConv& conv) {
  return instruction_set() >= InstructionSet::kAmx && conv.store == DirectStore::kRawFloat &&
         conv.run % kStepValues == 0;
}

#if defined(__x86_64__)

namespace {

/// Pixels [first, first + count), `from` and `to` values apart.
struct PixelRun {
  int64_t first, count, from, to;
};

PixelRun run_at(const DirectConv& conv, int64_t first) {
  const auto at = [](const std::vector<int32_t>& offsets, int64_t i) {
    return int64_t{offsets[static_cast<size_t>(i)]};
  };
  const auto pixels = static_cast<int64_t>(conv.from.size());
  PixelRun run{first, 1, 0, 0};
  if (first + 1 == pixels) return run;
  run.from = at(conv.from, first + 1) - at(conv.from, first);
  run.to = at(conv.to, first + 1) - at(conv.to, first);
  while (first + run.count < pixels &&
         at(conv.from, first + run.count) - at(conv.from, first + run.count - 1) == run.from &&
         at(conv.to, first + run.count) - at(conv.to, first + run.count - 1) == run.to)
    ++run.count;
  return run;
}

/// Sixteen pixels, or twice as many, the second sixteen `second` pixels after the first.
struct Pixels {
  const uint16_t* from;
  float* to;
  int64_t from_pitch, to_pitch, second;  // values; pixels
};

/// A block of output channels, [step][pair of inputs][channel of the block][2].
struct Filters {
  const uint16_t* values;
  int64_t width;
};

/// The sums of pixels and sixteen channels from `column` of a block on, or 32. Registers 0 to 3 hold the sums (first
/// pixels first), 4 and 5 the pixels, 6 and 7 the filters.
template <bool kTwoRows, bool kTwoColumns>
TESSERA_AMX_CODE void multiply(const DirectConv& conv, const Pixels& pixels, const Filters& filters, int64_t column) {
  settle_memory();
  const int64_t from_bytes = pixels.from_pitch * 2, to_bytes = pixels.to_pitch * 4, filter_bytes = filters.width * 4;
  const uint16_t* b = filters.values + column * 2;
  _tile_zero(0);
  if constexpr (kTwoColumns) _tile_zero(1);
  if constexpr (kTwoRows) _tile_zero(2);
  if constexpr (kTwoRows && kTwoColumns) _tile_zero(3);
  for (int64_t row = 0; row < conv.rows; ++row) {
    const uint16_t* a = pixels.from + row * conv.row_pitch;
    for (int64_t k = 0; k < conv.run; k += kStepValues, a += kStepValues, b += kStepValues * filters.width) {
      _tile_loadd(4, a, from_bytes);
      _tile_loadd(6, b, filter_bytes);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kTwoColumns) _tile_loadd(7, b + kTile * 2, filter_bytes);
      if constexpr (kTwoColumns) _tile_dpbf16ps(1, 4, 7);
      if constexpr (kTwoRows) _tile_loadd(5, a + pixels.second * pixels.from_pitch, from_bytes);
      if constexpr (kTwoRows) _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoRows && kTwoColumns) _tile_dpbf16ps(3, 5, 7);
    }
  }
  float *to = pixels.to + column, *below = to + pixels.second * pixels.to_pitch;
  _tile_stored(0, to, to_bytes);
  if constexpr (kTwoColumns) _tile_stored(1, to + kTile, to_bytes);
  if constexpr (kTwoRows) _tile_stored(2, below, to_bytes);
  if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, below + kTile, to_bytes);
}

void multiply_block(const DirectConv& conv, const Pixels& pixels, const Filters& filters) {
  const bool two = pixels.second > 0;
  int64_t column = 0;
  for (; column + 2 * kTile <= filters.width; column += 2 * kTile)
    two ? multiply<true, true>(conv, pixels, filters, column) : multiply<false, true>(conv, pixels, filters, column);
  if (column < filters.width)
    two ? multiply<true, false>(conv, pixels, filters, column) : multiply<false, false>(conv, pixels, filters, column);
}

/// Fewer than sixteen pixels: copied, with others that may be anything, and copied back.
void multiply_few(const DirectConv& conv, const PixelRun& run, Pixels pixels, const Filters& filters) {
  static thread_local std::vector<uint16_t> inputs;
  static thread_local std::vector<float> sums;
  const int64_t values = conv.rows * conv.run;
  inputs.resize(static_cast<size_t>(kTile * values));
  sums.resize(static_cast<size_t>(kTile * filters.width));
  for (int64_t i = 0; i < run.count; ++i)
    for (int64_t row = 0; row < conv.rows; ++row)
      std::copy_n(pixels.from + i * run.from + row * conv.row_pitch, conv.run,
                  inputs.data() + i * values + row * conv.run);
  DirectConv dense;
  dense.rows = 1;
  dense.run = values;
  multiply_block(dense, {inputs.data(), sums.data(), values, filters.width, 0}, filters);
  for (int64_t i = 0; i < run.count; ++i)
    std::copy_n(sums.data() + i * filters.width, filters.width, pixels.to + i * run.to);
}

void multiply_run(const DirectConv& conv, const PixelRun& run, const uint16_t* from, float* to,
                  const Filters& filters) {
  const auto pixels_at = [&](int64_t pixel, int64_t second) {
    return Pixels{from + pixel * run.from, to + pixel * run.to, run.from, run.to, second};
  };
  if (run.count < kTile) return multiply_few(conv, run, pixels_at(0, 0), filters);
  int64_t pixel = 0;
  for (; pixel + 2 * kTile <= run.count; pixel += 2 * kTile) multiply_block(conv, pixels_at(pixel, kTile), filters);
  const int64_t left = run.count - pixel, last = run.count - kTile;  // some pixels are computed twice
  if (left > kTile) multiply_block(conv, pixels_at(pixel, last - pixel), filters);
  if (left > 0 && left <= kTile) multiply_block(conv, pixels_at(last, 0), filters);
}

}  // namespace

void convolve_in_tiles(const DirectConv& conv, const uint16_t* from, float* to) {
  const TileRegisters configured;
  const auto* weights = static_cast<const uint16_t*>(conv.weights);
  const auto pixels = static_cast<int64_t>(conv.from.size());
  for (int64_t channel = 0; channel < conv.channels;) {
    const int64_t width = direct_block(conv.channels - channel);
    for (int64_t first = 0; first < pixels;) {
      const PixelRun run = run_at(conv, first);
      const auto at = static_cast<size_t>(first);
      multiply_run(conv, run, from + conv.from[at], to + conv.to[at] + channel, {weights, width});
      first += run.count;
    }
    weights += conv.rows * conv.run * width;
    channel += width;
  }
}

#else

void convolve_in_tiles(const DirectConv&, const uint16_t*, float*) {}

#endif

}  // namespace tessera
