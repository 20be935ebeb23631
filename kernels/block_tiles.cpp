// block_attention in tile registers: whole summaries of a few heads at a time, rounded to bfloat16.
#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/block_call.h"
#include "kernels/tile_products.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

constexpr int64_t kSquaresAtOnce = 16;  // of mixed places: a kilobyte of each block

/// What a thread keeps of the two blocks that it works on.
struct BlockTileWork {
  BlockWork<Bfloat16Bits> block;
  Buffer<Bfloat16Bits> keys;  // [step][16 columns][column][pairs]
  Buffer<float> sums;         // [2][width][width]

  explicit BlockTileWork(int64_t width) : block(width), keys(kKeyChunk * width), sums(2 * width * width) {}
};

class BlockTiles {
 public:
  explicit BlockTiles(BlockCall<Bfloat16Bits>& call);
  void run() const;

 private:
  void add_products(int64_t head, const int32_t* tokens, int64_t count, bool add, BlockTileWork& work,
                    float* sums) const;
  void summarize(int64_t head, int64_t slot, int64_t pair, BlockTileWork& work) const;
  void clear_missing_pairs() const;
  void mix(int64_t slot, int64_t first) const;
  void read_out(int64_t head, int64_t slot, int64_t block, BlockWork<Bfloat16Bits>& work) const;

  int64_t squares() const { return width_ * width_ / kSquare; }  // of 32 places each
  // Values of two rows of two summaries, and of all summaries. Beyond powers of two, so that the same place of many
  // blocks does not fall into one set of a cache.
  int64_t block_pair() const { return 4 * width_ + 2 * kRegisterPairs; }
  int64_t row_pair() const { return steps_ * kRegisterPairs * block_pair(); }
  int64_t mixed_block() const { return width_ * width_ + 2 * kLaneStrip; }
  int64_t summary_values() const { return width_ / 2 * row_pair(); }
  int64_t slot_values() const { return summary_values() + call_.M * mixed_block(); }
  Bfloat16Bits* summaries(int64_t slot) const { return scratch_.data + slot * slot_values(); }
  Bfloat16Bits* mixed(int64_t slot, int64_t block) const {
    return summaries(slot) + summary_values() + block * mixed_block();
  }

  BlockCall<Bfloat16Bits>& call_;
  const int64_t width_, steps_;  // steps: of 32 blocks each
  const int64_t slots_;
  Buffer<Bfloat16Bits> scratch_;  // [slot]: [D / 2][M / 2][column][2 rows][2 blocks], mixed [M][D / 2][column][2 rows]
  at::Tensor mixing_;             // bfloat16 [16 output blocks][step][16][32 blocks]; zeros beyond M
};

BlockTiles::BlockTiles(BlockCall<Bfloat16Bits>& call)
    : call_(call),
      width_(call.width),
      steps_((call.M + 2 * kRegisterPairs - 1) / (2 * kRegisterPairs)),
      slots_(slots_of(call.heads(), slot_values() * 2)),
      scratch_(slots_ * slot_values()) {
  const int64_t rows = (call.M + kSquare - 1) / kSquare * kSquare, columns = steps_ * 2 * kRegisterPairs;
  mixing_ = at::constant_pad_nd(call.mixing.to(at::kBFloat16), {0, columns - call.M, 0, rows - call.M})
                .view({rows / kRegisterRows, kRegisterRows, steps_, 2 * kRegisterPairs})
                .transpose(1, 2)
                .contiguous();
  call_.keep_normalizers(slots_);
  clear_missing_pairs();
}

/// Zeros where the last step of blocks has none: what memory holds there might be no number.
void BlockTiles::clear_missing_pairs() const {
  const int64_t pairs = (call_.M + 1) / 2, all = steps_ * kRegisterPairs;
  for (int64_t slot = 0; slot < slots_; ++slot)
    for (int64_t rows = 0; rows < width_ / 2; ++rows)
      std::fill_n(summaries(slot) + rows * row_pair() + pairs * block_pair(), (all - pairs) * block_pair(),
                  Bfloat16Bits{0});
}

/// S of up to kKeyChunk tokens of a head, added to `sums` [width, width] or written there.
void BlockTiles::add_products(int64_t head, const int32_t* tokens, int64_t count, bool add, BlockTileWork& work,
                              float* sums) const {
  const int64_t steps = (count + 2 * kRegisterPairs - 1) / (2 * kRegisterPairs), pairs = steps * kRegisterPairs;
  Bfloat16Bits *keys = work.block.keys.data, *values = work.block.values.data;
  call_.load_keys_and_values(head, tokens, count, pairs, work.block);
  const int64_t loaded = lane_steps<Bfloat16Bits>(count);
  std::fill_n(keys + loaded * 2 * width_, (pairs - loaded) * 2 * width_, Bfloat16Bits{0});
  clear_lanes(width_, loaded, pairs, values);
  Bfloat16Bits* to = work.keys.data;
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t column = 0; column < width_; column += kRegisterRows, to += kRegisterValues)
      transpose_pairs(keys + (step * kRegisterPairs * width_ + column) * 2, 2 * width_, to);
  for (int64_t column = 0; column < width_; column += kSquare) {
    const int64_t strip = column / kLaneStrip * kLaneStrip, columns = strip_width(strip, width_);
    for (int64_t row = 0; row < width_; row += kSquare)
      multiply_square({.a = work.keys.data + row / kRegisterRows * kRegisterValues,
                       .a_row = 2 * kRegisterPairs,
                       .a_step = width_ / kRegisterRows * kRegisterValues,
                       .a_lower = kRegisterValues,
                       .b = values + strip_offset<Bfloat16Bits>(strip, pairs) + (column - strip) * 2,
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
void BlockTiles::summarize(int64_t head, int64_t slot, int64_t pair, BlockTileWork& work) const {
  const int64_t values = width_ * width_;
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t block = 2 * pair + i;
    float* sums = work.sums.data + i * values;
    if (block >= call_.M) {
      std::fill_n(sums, values, 0.0f);
      continue;
    }
    std::fill_n(work.block.key_sums.data, width_, 0.0f);
    const int64_t count = call_.count(block);
    for (int64_t first = 0; first == 0 || first < count; first += kKeyChunk)
      add_products(head, call_.members(block) + first, std::min(kKeyChunk, count - first), first > 0, work, sums);
    call_.keep_key_sums(head, slot, block, work.block);
  }
  pair_summaries(work.sums.data, work.sums.data + values, width_, summaries(slot) + pair * block_pair(), row_pair());
}

/// kSquaresAtOnce times 32 places of all mixed summaries of a head, from square `first` on.
void BlockTiles::mix(int64_t slot, int64_t first) const {
  struct alignas(64) {
    float values[kSquare * kSquare];
  } sums;
  const auto* weights = static_cast<const Bfloat16Bits*>(mixing_.const_data_ptr());
  const int64_t end = std::min(first + kSquaresAtOnce, squares()), per_rows = 2 * width_ / kSquare;
  for (int64_t block = 0; block < call_.M; block += kSquare)
    for (int64_t square = first; square < end; ++square) {
      multiply_square({.a = weights + block / kRegisterRows * steps_ * kRegisterValues,
                       .a_row = 2 * kRegisterPairs,
                       .a_step = kRegisterValues,
                       .a_lower = steps_ * kRegisterValues,
                       .b = summaries(slot) + square / per_rows * row_pair() + square % per_rows * 2 * kSquare,
                       .b_row = block_pair(),
                       .b_step = kRegisterPairs * block_pair(),
                       .b_right = kSquare,
                       .steps = steps_,
                       .c = sums.values,
                       .c_row = kSquare,
                       .lower = call_.M - block > kRegisterRows});
      narrow_rows(sums.values, std::min(kSquare, call_.M - block), mixed(slot, block) + square * kSquare,
                  mixed_block());
    }
}

/// The results of one block of a head.
void BlockTiles::read_out(int64_t head, int64_t slot, int64_t block, BlockWork<Bfloat16Bits>& work) const {
  for (int64_t first = 0; first < call_.count(block); first += kQueryChunk) {
    const int64_t chunk = std::min(kQueryChunk, call_.count(block) - first);
    call_.load_queries(head, slot, block, first, chunk, work.queries.data);
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
    call_.finish(head, block, first, chunk, work.results.data);
  }
}

void BlockTiles::run() const {
  const int64_t pairs = (call_.M + 1) / 2;
  const int64_t mixings =
      (squares() + kSquaresAtOnce - 1) / kSquaresAtOnce + (call_.is(BlockNormalizer::kNone) ? 0 : 1);
  for (int64_t first = 0; first < call_.heads(); first += slots_) {
    const int64_t slots = std::min(slots_, call_.heads() - first);
    parallel_for(0, pairs * slots, 1, [&](int64_t begin, int64_t end) {
      const TileRegisters configured;
      BlockTileWork work(width_);
      for (int64_t i = begin; i < end; ++i) summarize(first + i % slots, i % slots, i / slots, work);
    });
    parallel_for(0, slots * mixings, 1, [&](int64_t begin, int64_t end) {
      const TileRegisters configured;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t slot = i / mixings, square = i % mixings * kSquaresAtOnce;
        if (square < squares())
          mix(slot, square);
        else
          call_.mix_normalizer(first + slot, slot);
      }
    });
    parallel_for(0, call_.M * slots, 1, [&](int64_t begin, int64_t end) {
      const TileRegisters configured;
      BlockWork<Bfloat16Bits> work(width_);
      for (int64_t i = begin; i < end; ++i) read_out(first + i % slots, i % slots, i / slots, work);
    });
  }
}

}  // namespace

void attend_in_tiles(BlockCall<Bfloat16Bits>& call) {
  BlockTiles(call).run();
}

#endif

}  // namespace tessera
