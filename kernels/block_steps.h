#pragma once

#include <cstdint>

#include "kernels/bfloat16_bits.h"

// The steps of kernels/block_attention.h, each on one thread; all need InstructionSet::kAvx512Bf16. Values are float or
// Bfloat16Bits, the operands of kernels/lane_products.h and kernels/tile_products.h. `width` is head_dim rounded up to
// a multiple of 16 or 32; columns beyond head_dim are zero.
namespace tessera {

/// The rows of q or k and what makes features of them: max(x * scale * weight, 0) + 1e-6, then a rotation of the pairs
/// (2i, 2i + 1).
struct FeatureRows {
  const uint16_t* data;   ///< bfloat16 [B, N, H * D]
  int64_t sample, token;  ///< strides, in values
  int64_t tokens, channels, head_dim, width;
  float* scales;          ///< [B, N]: 1 / the root mean square of a row; null: 1
  const float* weight;    ///< [H * D]; null: 1
  const float* rotation;  ///< [N, D]: cosine and sine of each pair; null: no rotation
};

/// Asks for memory that will be read soon.
void prefetch(const void* from, int64_t bytes);
void prefetch_row(const FeatureRows& rows, int64_t sample, int64_t head, int64_t token);

/// Writes the scales of the rows begin to end, row r being token r % N of sample r / N.
void scale_rows(const FeatureRows& rows, double eps, int64_t begin, int64_t end);

/// Rotated features of kLaneStep tokens of a head as [width][kLaneStep]; `second`: -1 where there is no second token,
/// whose features are zero then; float takes the first alone. Adds the features before rotation to sums [width].
template <typename Value>
void key_step(const FeatureRows& rows, int64_t sample, int64_t head, int64_t first, int64_t second, Value* to,
              float* sums);

/// Rotated features of the keys of `count` tokens of a head as [token][width]. Adds the features before rotation to
/// sums [width].
void key_features(const FeatureRows& rows, int64_t sample, int64_t head, const int32_t* tokens, int64_t count,
                  Bfloat16Bits* to, float* sums);

/// Rotated features of `count` tokens of a head: [token][width] (null: not wanted). Where `key_sums` [width] is given,
/// products [count] receive the features before rotation times it.
template <typename Value>
void query_features(const FeatureRows& rows, int64_t sample, int64_t head, const int32_t* tokens, int64_t count,
                    Value* to, const float* key_sums, float* products);

/// What mix_rows does with a sum over blocks.
enum class MixStore {
  kFloat,  ///< stored as float32
  kFirst,  ///< stored as the first bfloat16 of a pair, the second one zero
  kSecond  ///< put beside it as the second
};

/// For each of `blocks` output blocks i: sum_j mixing[i, j] * from[j], of `columns` (16, 32, 48 or 64) values.
/// from [blocks, columns]; the result of block i begins at i * to_block (values of 4 bytes) of `to`.
void mix_rows(const float* mixing, int64_t blocks, const float* from, int64_t columns, MixStore store, void* to,
              int64_t to_block);

/// Rows of pairs of 16 values of 4 bytes [16, rows apart by from_row] as their transpose [16, 16].
void transpose_pairs(const Bfloat16Bits* from, int64_t from_row, Bfloat16Bits* to);

/// The sums [width, width] of two blocks, rounded: for each pair of rows [column][2 rows][2 blocks], to_rows apart.
void pair_summaries(const float* first, const float* second, int64_t width, Bfloat16Bits* to, int64_t to_rows);

/// Rounds `rows` rows of 32 values to `to`, whose rows are to_row apart.
void narrow_rows(const float* from, int64_t rows, Bfloat16Bits* to, int64_t to_row);

/// 32 values times weights, rounded.
void scale_and_narrow(const float* from, const float* weights, Bfloat16Bits* to);

/// What follows the read-out of a head: x / divisor, RMS norm with `weight` [head_dim] (null: none), times SiLU(gate)
/// (null: none), rounded to bfloat16.
void finish_row(const float* x, float divisor, const float* weight, float eps, const uint16_t* gate, int64_t head_dim,
                uint16_t* to);

}  // namespace tessera
