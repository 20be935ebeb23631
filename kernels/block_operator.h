#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "kernels/block_attention.h"
#include "kernels/block_steps.h"
#include "kernels/lane_products.h"
#include "kernels/tile_products.h"
#include "kernels/value_type.h"

// How kernels/block_attention.h works inside; for its own .cpp files.
namespace tessera {

constexpr int64_t kMostHeadDim = 256;   // of block_attention
constexpr int64_t kKeyChunk = 128;      // tokens whose keys and values are in the first caches at a time
constexpr int64_t kQueryChunk = 48;     // tokens whose queries are
constexpr int64_t kFewValues = 200000;  // of a head, that stay in the second cache
constexpr int64_t kPrefetched = 4;      // tokens ahead: rows of a block lie far apart, which no processor foresees

/// Scratch memory; at::empty begins cache lines, which vectors of 64 bytes want.
template <typename Value>
struct Buffer {
  at::Tensor bytes;
  Value* data;
  explicit Buffer(int64_t count)
      : bytes(at::empty({count * static_cast<int64_t>(sizeof(Value))}, at::kByte)),
        data(static_cast<Value*>(bytes.mutable_data_ptr())) {}
};

/// What a thread keeps of the block that it works on.
template <typename Value>
struct BlockWork {
  Buffer<Value> keys, values, queries;
  Buffer<float> key_sums, results;
  float products[kQueryChunk];

  explicit BlockWork(int64_t width)
      : keys(kKeyChunk * width),
        values(kKeyChunk * width),
        queries(kQueryChunk * width),
        key_sums(width),
        results(kQueryChunk * width) {}
};

template <typename Value>
struct BlockPanel;

struct BlockTileWork;

/// One call. Heads are numbered through the batch; a slot is a head's place in scratch memory.
template <typename Value>
class BlockOperator {
 public:
  BlockOperator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const BlockAttention& plan,
                bool in_tiles);
  BlockAttentionResult run();

 private:
  static constexpr int64_t kStep = kLaneStep<Value>;
  FeatureRows feature_rows(const at::Tensor& x, const at::Tensor& norm, at::Tensor& scales) const;
  const int32_t* tokens_of(int64_t block) const { return tokens_.const_data_ptr<int32_t>() + block * P_; }
  void list_tokens();
  const int32_t* members(int64_t block) const { return order_.data() + starts_[static_cast<size_t>(block)]; }
  const int32_t* places(int64_t block) const { return place_of_.data() + starts_[static_cast<size_t>(block)]; }
  int64_t count(int64_t block) const {
    return starts_[static_cast<size_t>(block) + 1] - starts_[static_cast<size_t>(block)];
  }
  /// Where the sums of block j begin in [strip of columns][block][column], each strip with `rows` such rows.
  static int64_t strip_place(int64_t column, int64_t columns, int64_t rows, int64_t row) {
    return column * rows + row * strip_width(column, columns);
  }
  void load_keys_and_values(int64_t sample, int64_t h, const int32_t* tokens, int64_t count, int64_t steps,
                            BlockWork<Value>& work) const;
  void summarize(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  void sum_keys(int64_t head, int64_t block, BlockWork<Value>& work) const;
  void keep_key_sums(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  void query_products(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  void mix_step(int64_t slot, int64_t step) const;
  void mix_normalizer(int64_t head, int64_t slot) const;
  void load_queries(int64_t head, int64_t slot, int64_t block, int64_t first, int64_t count, Value* to) const;
  void finish(int64_t head, int64_t block, int64_t first, int64_t count, const float* results) const;
  void read_out(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  bool few_tokens() const { return !in_tiles_ && N_ * width_ <= kFewValues && M_ * D_ >= 2 * N_; }
  void load_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const;
  void attend_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const;
  void run_few();
  void run_many();
  void add_in_tiles(int64_t head, const int32_t* tokens, int64_t count, bool add, BlockTileWork& work,
                    float* sums) const;
  void summarize_in_tiles(int64_t head, int64_t slot, int64_t pair, BlockTileWork& work) const;
  void clear_missing_pairs() const;
  void mix_in_tiles(const at::Tensor& mixing, int64_t slot, int64_t first) const;
  void read_out_in_tiles(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  void run_in_tiles();

  const BlockAttention& plan_;
  const bool in_tiles_;
  const at::Tensor tokens_, mixing_, q_norm_, k_norm_, head_norm_, rotation_, gate_;
  const int64_t B_, N_, H_, D_, M_, P_, width_, places_;  // width: D rounded up to 16 or 32; places: P
  at::Tensor q_scales_, k_scales_;
  std::vector<int32_t> order_, place_of_;  // tokens by block, and the place of each
  std::vector<int64_t> starts_, steps_;    // [M + 1]: where a block's tokens and its steps of keys begin
  FeatureRows q_, k_, v_;
  int64_t slots_;  // heads that are worked on together
  // [slot][strip][D][M][column], then, mixed, [slot][M][strip][step of D][column][kLaneStep]; in tiles [slot][D / 2][M
  // / 2] [column][2 rows][2 blocks], then, mixed, [slot][M][D / 2][column][2 rows]. One piece of memory: glibc keeps at
  // most 64 MB for the next call, and new pages cost as much as a third of the products.
  Buffer<uint8_t> scratch_;
  Buffer<float> normalizers_;        // [slot][strip][M][column]: sums of keys, or products of queries at places
  Buffer<float> mixed_normalizers_;  // [slot][M][columns]
  Buffer<float> results_;            // when tokens are few, [head][token by block][width]
  BlockAttentionResult result_;

  bool is(BlockNormalizer form) const { return plan_.normalizer == form; }
  int64_t normalizer_columns() const { return is(BlockNormalizer::kProducts) ? places_ : width_; }
  // Beyond a power of two, so that the same place of many blocks does not fall into one set of a cache.
  int64_t mixed_block() const { return (in_tiles_ ? width_ : D_) * width_ + 2 * kLaneStrip; }
  int64_t summary_bytes() const {
    return in_tiles_ ? width_ / 2 * tile_row_pair() * static_cast<int64_t>(sizeof(Value))
                     : M_ * D_ * width_ * static_cast<int64_t>(sizeof(float));
  }
  // In tiles: steps of 32 blocks, and the values of two rows of two blocks, and of all blocks.
  int64_t mixing_steps() const { return (M_ + 2 * kRegisterPairs - 1) / (2 * kRegisterPairs); }
  int64_t tile_block_pair() const { return 4 * width_ + 2 * kRegisterPairs; }
  int64_t tile_row_pair() const { return mixing_steps() * kRegisterPairs * tile_block_pair(); }
  int64_t mixed_bytes() const { return M_ * mixed_block() * static_cast<int64_t>(sizeof(Value)); }
  float* summaries(int64_t slot) const { return reinterpret_cast<float*>(scratch_.data + slot * summary_bytes()); }
  Value* mixed(int64_t slot, int64_t block) const {
    return reinterpret_cast<Value*>(scratch_.data + slots_ * summary_bytes() + slot * mixed_bytes()) +
           block * mixed_block();
  }
  Value* tile_summaries(int64_t slot) const { return reinterpret_cast<Value*>(summaries(slot)); }
  float* normalizers(int64_t slot) const { return normalizers_.data + slot * M_ * normalizer_columns(); }
  float* mixed_normalizers(int64_t slot, int64_t block) const {
    return mixed_normalizers_.data + (slot * M_ + block) * normalizer_columns();
  }
  float* normalizers_of(int64_t head, int64_t block) const {
    return mutable_values_of<float>(result_.normalizer) + (head * M_ + block) * P_;
  }
};

template <>
void BlockOperator<Bfloat16Bits>::run_in_tiles();

}  // namespace tessera
