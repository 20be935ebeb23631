// block_attention in tile registers: whole summaries of a few heads at a time, rounded to bfloat16.
#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/block_operator.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

constexpr int64_t kRegisterValues = kRegisterRows * 2 * kRegisterPairs;  // of a register
constexpr int64_t kSquaresAtOnce = 16;                       // of mixed places: a kilobyte of each block

/// Mixing weights [M, M], rounded, as [16 output blocks][step][16][32 blocks]; zeros beyond M.
at::Tensor mixing_operand(const at::Tensor& mixing, int64_t steps) {
  const int64_t M = mixing.size(0), rows = (M + kSquare - 1) / kSquare * kSquare, columns = steps * 2 * kRegisterPairs;
  const at::Tensor all = at::constant_pad_nd(mixing.to(at::kBFloat16), {0, columns - M, 0, rows - M});
  return all.view({rows / kRegisterRows, kRegisterRows, steps, 2 * kRegisterPairs}).transpose(1, 2).contiguous();
}

/// Steps of kRegisterPairs pairs.
int64_t tile_steps_of(int64_t tokens) {
  return (tokens + 2 * kRegisterPairs - 1) / (2 * kRegisterPairs);
}

}  // namespace

/// What a thread keeps of the two blocks that it works on.
struct BlockTileWork {
  BlockWork<Bfloat16Bits> block;
  Buffer<Bfloat16Bits> keys;  // [step][16 columns][column][pairs]
  Buffer<float> sums;         // [2][width][width]

  explicit BlockTileWork(int64_t width) : block(width), keys(kKeyChunk * width), sums(2 * width * width) {}
};

/// S of up to kKeyChunk tokens of a head, added to `sums` [width, width] or written there.
template <>
void BlockOperator<Bfloat16Bits>::add_in_tiles(int64_t head, const int32_t* tokens, int64_t count, bool add,
                                               BlockTileWork& work, float* sums) const {
  const int64_t steps = tile_steps_of(count), pairs = steps * kRegisterPairs, loaded = lane_steps<Bfloat16Bits>(count);
  load_keys_and_values(head / H_, head % H_, tokens, count, pairs, work.block);
  std::fill_n(work.block.keys.data + loaded * 2 * width_, (pairs - loaded) * 2 * width_, Bfloat16Bits{0});
  for (int64_t column = 0; column < width_; column += kLaneStrip) {
    const int64_t row = strip_width(column, width_) * 2;
    std::fill_n(work.block.values.data + strip_offset<Bfloat16Bits>(column, pairs) + loaded * row, (pairs - loaded) * row,
                Bfloat16Bits{0});
  }
  Bfloat16Bits* to = work.keys.data;
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t column = 0; column < width_; column += kRegisterRows, to += kRegisterValues)
      transpose_pairs(work.block.keys.data + (step * kRegisterPairs * width_ + column) * 2, 2 * width_, to);
  for (int64_t column = 0; column < width_; column += kSquare) {
    const int64_t strip = column / kLaneStrip * kLaneStrip, columns = strip_width(strip, width_);
    for (int64_t row = 0; row < width_; row += kSquare)
      multiply_square(
          {.a = work.keys.data + row / kRegisterRows * kRegisterValues,
           .a_row = 2 * kRegisterPairs,
           .a_step = width_ / kRegisterRows * kRegisterValues,
           .a_lower = kRegisterValues,
           .b = work.block.values.data + strip_offset<Bfloat16Bits>(strip, pairs) + (column - strip) * 2,
           .b_row = columns * 2,
           .b_step = kRegisterPairs * columns * 2,
           .b_right = 2 * kRegisterRows,
           .steps = steps,
           .c = sums + row * width_ + column,
           .c_row = width_,
           .add = add});
  }
}

/// S and z of two neighboring blocks of a head.
template <>
void BlockOperator<Bfloat16Bits>::summarize_in_tiles(int64_t head, int64_t slot, int64_t pair,
                                                     BlockTileWork& work) const {
  const int64_t values = width_ * width_;
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t block = 2 * pair + i;
    float* sums = work.sums.data + i * values;
    if (block >= M_) {
      std::fill_n(sums, values, 0.0f);
      continue;
    }
    std::fill_n(work.block.key_sums.data, width_, 0.0f);
    for (int64_t first = 0; first == 0 || first < count(block); first += kKeyChunk)
      add_in_tiles(head, members(block) + first, std::min(kKeyChunk, count(block) - first), first > 0, work, sums);
    keep_key_sums(head, slot, block, work.block);
  }
  pair_summaries(work.sums.data, work.sums.data + values, width_, tile_summaries(slot) + pair * tile_block_pair(),
                 tile_row_pair());
}

/// Zeros where the last step of blocks has none: what memory holds there might be no number.
template <>
void BlockOperator<Bfloat16Bits>::clear_missing_pairs() const {
  const int64_t pairs = (M_ + 1) / 2, all = mixing_steps() * kRegisterPairs;
  for (int64_t slot = 0; slot < slots_; ++slot)
    for (int64_t rows = 0; rows < width_ / 2; ++rows)
      std::fill_n(tile_summaries(slot) + rows * tile_row_pair() + pairs * tile_block_pair(),
                  (all - pairs) * tile_block_pair(), Bfloat16Bits{0});
}

/// kSquaresAtOnce times 32 places of all mixed summaries of a head, from square `first` on.
template <>
void BlockOperator<Bfloat16Bits>::mix_in_tiles(const at::Tensor& mixing, int64_t slot, int64_t first) const {
  struct alignas(64) {
    float values[kSquare * kSquare];
  } sums;
  const auto* weights = static_cast<const Bfloat16Bits*>(mixing.const_data_ptr());
  const int64_t end = std::min(first + kSquaresAtOnce, width_ * width_ / kSquare), steps = mixing_steps();
  const int64_t per_row = 2 * width_ / kSquare;
  for (int64_t block = 0; block < M_; block += kSquare)
    for (int64_t square = first; square < end; ++square) {
      multiply_square({.a = weights + block / kRegisterRows * steps * kRegisterValues,
                       .a_row = 2 * kRegisterPairs,
                       .a_step = kRegisterValues,
                       .a_lower = steps * kRegisterValues,
                       .b = tile_summaries(slot) + square / per_row * tile_row_pair() + square % per_row * 2 * kSquare,
                       .b_row = tile_block_pair(),
                       .b_step = kRegisterPairs * tile_block_pair(),
                       .b_right = kSquare,
                       .steps = steps,
                       .c = sums.values,
                       .c_row = kSquare,
                       .lower = M_ - block > kRegisterRows});
      narrow_rows(sums.values, std::min(kSquare, M_ - block), mixed(slot, block) + square * kSquare, mixed_block());
    }
}

/// The results of one block of a head.
template <>
void BlockOperator<Bfloat16Bits>::read_out_in_tiles(int64_t head, int64_t slot, int64_t block,
                                                    BlockWork<Bfloat16Bits>& work) const {
  for (int64_t first = 0; first < count(block); first += kQueryChunk) {
    const int64_t chunk = std::min(kQueryChunk, count(block) - first);
    load_queries(head, slot, block, first, chunk, work.queries.data);
    for (int64_t column = 0; column < width_; column += kSquare)
      for (int64_t row = 0; row < chunk; row += kSquare)
        multiply_square({.a = work.queries.data + row * width_,
                         .a_row = width_,
                         .a_step = 2 * kRegisterPairs,
                         .a_lower = kRegisterRows * width_,
                         .b = mixed(slot, block) + column * 2,
                         .b_row = 2 * width_,
                         .b_step = kRegisterPairs * 2 * width_,
                         .b_right = 2 * kRegisterRows,
                         .steps = width_ / kSquare,
                         .c = work.results.data + row * width_ + column,
                         .c_row = width_,
                         .lower = chunk - row > kRegisterRows});
    finish(head, block, first, chunk, work.results.data);
  }
}

template <>
void BlockOperator<Bfloat16Bits>::run_in_tiles() {
  const int64_t pairs = (M_ + 1) / 2, squares = width_ * width_ / kSquare;
  const int64_t mixings = (squares + kSquaresAtOnce - 1) / kSquaresAtOnce + (is(BlockNormalizer::kNone) ? 0 : 1);
  const at::Tensor mixing = mixing_operand(mixing_, mixing_steps());
  clear_missing_pairs();
  for (int64_t first = 0; first < B_ * H_; first += slots_) {
    const int64_t slots = std::min(slots_, B_ * H_ - first);
    parallel_for(0, pairs * slots, 1, [&](int64_t begin, int64_t end) {
      const TileRegisters configured;
      BlockTileWork work(width_);
      for (int64_t i = begin; i < end; ++i) summarize_in_tiles(first + i % slots, i % slots, i / slots, work);
    });
    parallel_for(0, slots * mixings, 1, [&](int64_t begin, int64_t end) {
      const TileRegisters configured;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t slot = i / mixings, square = i % mixings * kSquaresAtOnce;
        if (square < squares)
          mix_in_tiles(mixing, slot, square);
        else
          mix_normalizer(first + slot, slot);
      }
    });
    parallel_for(0, M_ * slots, 1, [&](int64_t begin, int64_t end) {
      const TileRegisters configured;
      BlockWork<Bfloat16Bits> work(width_);
      for (int64_t i = begin; i < end; ++i) read_out_in_tiles(first + i % slots, i % slots, i / slots, work);
    });
  }
}

#endif

}  // namespace tessera
