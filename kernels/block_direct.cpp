// block_attention without summaries, in tile registers: a query times every key, times the mixing weight of their
// blocks, times the values.
#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/block_call.h"
#include "kernels/tile_products.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

constexpr int64_t kKeysAtOnce = 256;  // whose shares of a square of queries are kept

/// What a thread keeps of the 32 queries that it works on.
struct QueryWork {
  Buffer<Bfloat16Bits> queries, shares;  // [32][width], [32][kKeysAtOnce]
  Buffer<float> products, results;       // [32][32], [32][width]

  explicit QueryWork(int64_t width)
      : queries(kSquare * width),
        shares(kSquare * kKeysAtOnce),
        products(kSquare * kSquare),
        results(kSquare * width) {}
};

/// Tokens are numbered by block.
class DirectBlocks {
 public:
  explicit DirectBlocks(BlockCall<Bfloat16Bits>& call)
      : call_(call),
        width_(call.width),
        tokens_((call.N + kSquare - 1) / kSquare * kSquare),
        slots_(slots_of(call.heads(), 4 * tokens_ * width_)),
        keys_(slots_ * tokens_ * width_),
        values_(slots_ * tokens_ * width_),
        mixing_(at::zeros({call.M, tokens_}, at::kFloat)) {
    call_.keep_normalizers(slots_);
    for (int64_t block = 0; block < call.M; ++block) {
      block_of_.insert(block_of_.end(), static_cast<size_t>(call.count(block)), block);
      mixing_.narrow(1, call.start(block), call.count(block)).copy_(call.mixing.narrow(1, block, 1));
    }
  }
  void run() const;

 private:
  void load_keys(int64_t head, int64_t slot, int64_t block, BlockWork<Bfloat16Bits>& work) const;
  void arrange(int64_t head, int64_t slot, int64_t square) const;
  void share(int64_t slot, int64_t square, int64_t first_key, int64_t keys_now, QueryWork& work) const;
  void attend(int64_t head, int64_t slot, int64_t square, QueryWork& work) const;
  /// Calls part(block, its first token's number in the block, tokens, how many come before) for the blocks of a square.
  template <class Part>
  void each_block(int64_t square, const Part& part) const;

  Bfloat16Bits* keys(int64_t slot) const { return keys_.data + slot * tokens_ * width_; }
  Bfloat16Bits* values(int64_t slot) const { return values_.data + slot * tokens_ * width_; }
  int64_t block_of(int64_t token) const { return block_of_[static_cast<size_t>(token)]; }

  BlockCall<Bfloat16Bits>& call_;
  const int64_t width_, tokens_, slots_;  // tokens: rounded up
  std::vector<int64_t> block_of_;
  // [slot][token][width], then [slot][16 tokens][step of 32 features][pair of features][token][2]; and [slot] the
  // strips of lane_products.h, steps of two tokens.
  Buffer<Bfloat16Bits> keys_, values_;
  at::Tensor mixing_;  // float32 [M, tokens]: the weight that a block's queries give a token
};

template <class Part>
void DirectBlocks::each_block(int64_t square, const Part& part) const {
  const int64_t end = std::min(square + kSquare, call_.N);
  for (int64_t token = square; token < end;) {
    const int64_t block = block_of(token), first = token - call_.start(block);
    const int64_t count = std::min(call_.count(block) - first, end - token);
    part(block, first, count, token - square);
    token += count;
  }
}

/// The features of a block's keys, row by row, and z.
void DirectBlocks::load_keys(int64_t head, int64_t slot, int64_t block, BlockWork<Bfloat16Bits>& work) const {
  std::fill_n(work.key_sums.data, width_, 0.0f);
  key_features(call_.k, head / call_.H, head % call_.H, call_.members(block), call_.count(block),
               keys(slot) + call_.start(block) * width_, work.key_sums.data);
  call_.keep_key_sums(head, slot, block, work);
}

/// Keys and values of 32 tokens as operands; zeros beyond the last token.
void DirectBlocks::arrange(int64_t head, int64_t slot, int64_t square) const {
  Bfloat16Bits rows[kRegisterRows * kMostHeadDim];
  const int64_t present = std::min(kSquare, call_.N - square);
  Bfloat16Bits* to = keys(slot) + square * width_;
  std::fill_n(to + present * width_, (kSquare - present) * width_, Bfloat16Bits{0});
  for (int64_t half = 0; half < 2; ++half, to += kRegisterRows * width_) {
    std::copy_n(to, kRegisterRows * width_, rows);
    for (int64_t column = 0; column < width_; column += 2 * kRegisterPairs)
      transpose_pairs(rows + column, width_, to + column * kRegisterRows);
  }
  const int32_t* tokens = call_.members(0) + square;
  const auto value = [&](int64_t i) {
    return call_.v.data + head / call_.H * call_.v.sample + tokens[i] * call_.v.token + head % call_.H * call_.D;
  };
  for (int64_t i = 0; i < present; i += 2)
    pack_lanes(value(i), i + 1 < present ? value(i + 1) : nullptr, call_.D, width_, (square + i) / 2, tokens_ / 2,
               values(slot));
  if (present < kSquare) clear_lanes(width_, lane_steps<Bfloat16Bits>(call_.N), tokens_ / 2, values(slot));
}

/// What the queries of a square give to each of some keys: products times mixing weights.
void DirectBlocks::share(int64_t slot, int64_t square, int64_t first_key, int64_t keys_now, QueryWork& work) const {
  const int64_t queries = std::min(kSquare, call_.N - square);
  const auto* weights = mixing_.const_data_ptr<float>();
  for (int64_t key = 0; key < keys_now; key += kSquare) {
    multiply_square({.a = work.queries.data,
                     .a_row = width_,
                     .a_step = 2 * kRegisterPairs,
                     .a_lower = kRegisterRows * width_,
                     .b = keys(slot) + (first_key + key) * width_,
                     .b_row = 2 * kRegisterRows,
                     .b_step = kRegisterValues,
                     .b_right = kRegisterRows * width_,
                     .steps = width_ / kSquare,
                     .c = work.products.data,
                     .c_row = kSquare,
                     .lower = queries > kRegisterRows});
    for (int64_t query = 0; query < queries; ++query)
      scale_and_narrow(work.products.data + query * kSquare,
                       weights + block_of(square + query) * tokens_ + first_key + key,
                       work.shares.data + query * kKeysAtOnce + key);
  }
}

/// The results of 32 queries of a head.
void DirectBlocks::attend(int64_t head, int64_t slot, int64_t square, QueryWork& work) const {
  each_block(square, [&](int64_t block, int64_t first, int64_t count, int64_t before) {
    call_.load_queries(head, slot, block, first, count, work.queries.data + before * width_);
  });
  for (int64_t key = 0; key < tokens_; key += kKeysAtOnce) {
    const int64_t keys_now = std::min(kKeysAtOnce, tokens_ - key);
    share(slot, square, key, keys_now, work);
    for (int64_t column = 0; column < width_; column += kSquare) {
      const int64_t strip = column / kLaneStrip * kLaneStrip, row = strip_width(strip, width_) * 2;
      multiply_square(
          {.a = work.shares.data,
           .a_row = kKeysAtOnce,
           .a_step = 2 * kRegisterPairs,
           .a_lower = kRegisterRows * kKeysAtOnce,
           .b = values(slot) + strip_offset<Bfloat16Bits>(strip, tokens_ / 2) + key / 2 * row + (column - strip) * 2,
           .b_row = row,
           .b_step = kRegisterPairs * row,
           .b_right = 2 * kRegisterRows,
           .steps = keys_now / kSquare,
           .c = work.results.data + column,
           .c_row = width_,
           .lower = call_.N - square > kRegisterRows,
           .add = key > 0});
    }
  }
  each_block(square, [&](int64_t block, int64_t first, int64_t count, int64_t before) {
    call_.finish(head, block, first, count, work.results.data + before * width_);
  });
}

void DirectBlocks::run() const {
  for (int64_t first = 0; first < call_.heads(); first += slots_) {
    const int64_t slots = std::min(slots_, call_.heads() - first), squares = tokens_ / kSquare;
    parallel_for(0, call_.M * slots, 1, [&](int64_t begin, int64_t end) {
      BlockWork<Bfloat16Bits> work(width_);
      for (int64_t i = begin; i < end; ++i) load_keys(first + i % slots, i % slots, i / slots, work);
    });
    parallel_for(0, (squares + 1) * slots, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (i / slots < squares)
          arrange(first + i % slots, i % slots, i / slots * kSquare);
        else if (!call_.is(BlockNormalizer::kNone))
          call_.mix_normalizer(first + i % slots, i % slots);
    });
    parallel_for(0, squares * slots, 1, [&](int64_t begin, int64_t end) {
      const TileRegisters configured;
      QueryWork work(width_);
      for (int64_t i = begin; i < end; ++i) attend(first + i / squares, i / squares, i % squares * kSquare, work);
    });
  }
}

}  // namespace

bool prefers_pairs_of_tokens(int64_t tokens, int64_t blocks, int64_t width) {
  // Cycles of a core, Emerald Rapids, measured with 12 heads of 128 and 30 to 150 blocks.
  const double pair = 0.6 + static_cast<double>(width) / 107, summary_value = 2.4;
  return static_cast<double>(tokens * tokens) * pair < static_cast<double>(blocks * width * width) * summary_value;
}

void attend_directly(BlockCall<Bfloat16Bits>& call) {
  DirectBlocks(call).run();
}

#endif

}  // namespace tessera
