#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "kernels/block_attention.h"
#include "kernels/block_steps.h"
#include "kernels/lane_products.h"
#include "kernels/value_type.h"

// How kernels/block_attention.h works inside; for its own .cpp files. What all ways to compute it share is a BlockCall;
// there are four ways.
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

/// One call. Heads are numbered through the batch; a slot is a head's place in scratch memory.
template <typename Value>
class BlockCall {
 public:
  static constexpr int64_t kStep = kLaneStep<Value>;

  /// `lanes`: what head_dim is rounded up to a multiple of.
  BlockCall(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const BlockAttention& plan, int64_t lanes);

  const BlockAttention& plan;
  const at::Tensor tokens, mixing, q_norm, k_norm, head_norm, rotation, gate;
  const int64_t B, N, H, D, M, P, width;  ///< width: D rounded up; P: places of a block

 private:
  at::Tensor q_scales_, k_scales_;

 public:
  const FeatureRows q, k, v;
  BlockAttentionResult result;

  int64_t heads() const { return B * H; }
  bool is(BlockNormalizer form) const { return plan.normalizer == form; }
  /// The tokens of a block, without gaps; the place of each; how many come in the blocks before it.
  const int32_t* members(int64_t block) const { return order_.data() + start(block); }
  const int32_t* places(int64_t block) const { return place_of_.data() + start(block); }
  int64_t start(int64_t block) const { return starts_[static_cast<size_t>(block)]; }
  int64_t count(int64_t block) const { return start(block + 1) - start(block); }

  /// Makes room for the normalizers of so many slots.
  void keep_normalizers(int64_t slots);
  /// Keys and values of up to kKeyChunk tokens as operands, that of values of `steps` steps; adds to work.key_sums.
  void load_keys_and_values(int64_t head, const int32_t* tokens, int64_t count, int64_t steps,
                            BlockWork<Value>& work) const;
  /// Keeps what the normalizer needs of z, work.key_sums.
  void keep_key_sums(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  void mix_normalizer(int64_t head, int64_t slot) const;
  /// The queries of `count` tokens (at most kQueryChunk) as an operand, and their normalizers where those are sums.
  void load_queries(int64_t head, int64_t slot, int64_t block, int64_t first, int64_t count, Value* to) const;
  /// Divides, norms and gates the results [count, width] of a block's tokens.
  void finish(int64_t head, int64_t block, int64_t first, int64_t count, const float* results) const;

 private:
  const int32_t* tokens_of(int64_t block) const { return tokens.const_data_ptr<int32_t>() + block * P; }
  void list_tokens();
  FeatureRows feature_rows(const at::Tensor& x, const at::Tensor& norm, at::Tensor& scales) const;
  void query_products(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  int64_t normalizer_columns() const { return is(BlockNormalizer::kProducts) ? (P + 15) / 16 * 16 : width; }
  float* normalizers(int64_t slot) const { return normalizers_.data + slot * M * normalizer_columns(); }
  float* mixed_normalizers(int64_t slot, int64_t block) const {
    return mixed_normalizers_.data + (slot * M + block) * normalizer_columns();
  }
  float* normalizers_of(int64_t head, int64_t block) const {
    return mutable_values_of<float>(result.normalizer) + (head * M + block) * P;
  }

  std::vector<int32_t> order_, place_of_;
  std::vector<int64_t> starts_;
  Buffer<float> normalizers_{0};        // [slot][strip][M][column]: sums of keys, or products of queries at places
  Buffer<float> mixed_normalizers_{0};  // [slot][M][columns]
};

/// Where the sums of block j begin in [strip of columns][block][column], each strip with `rows` such rows.
inline int64_t strip_place(int64_t column, int64_t columns, int64_t rows, int64_t row) {
  return column * rows + row * strip_width(column, columns);
}

/// How many of `heads` heads to work on together when each has so many bytes of scratch memory: equal parts.
int64_t slots_of(int64_t heads, int64_t bytes);

/// Panels of rows of all summaries of a head, where tokens are few: whole ones would be larger than what they are made
/// of and leave the cache.
template <typename Value>
void attend_in_panels(BlockCall<Value>& call);

/// Whole summaries of a few heads at a time.
template <typename Value>
void attend_by_summaries(BlockCall<Value>& call);

/// The same in tile registers; call.width is a multiple of 32.
void attend_in_tiles(BlockCall<Bfloat16Bits>& call);

/// Every pair of tokens, in tile registers; call.width likewise.
void attend_directly(BlockCall<Bfloat16Bits>& call);
/// Whether that is less work than summaries: where tokens are few.
bool prefers_pairs_of_tokens(int64_t tokens, int64_t blocks, int64_t width);

}  // namespace tessera
