#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/attention_products.h"

namespace tessera {

/// The denominator of block attention: see docs/architecture.md, "MHLA".
enum class BlockNormalizer {
  kProducts,  ///< q_j[p] . z_j of each block j, mixed over blocks at each place p
  kSums,      ///< q . (mixed z)
  kNone
};

/// Multi-head linear attention over blocks of tokens as one operator, for inference on a CPU with AVX512-BF16.
/// q, k and v are bfloat16 [B, N, H * D] before their norms; tokens may lie apart (slices of one product).
/// Features of q and k: RMS norm over all heads, relu + 1e-6, rotation. With S_j = sum k^T v and z_j = sum k (before
/// rotation) of block j, a token of block i gives q (sum_j C_ij S_j) / n; then the RMS norm of each head and the gate.
struct BlockAttention {
  int64_t heads = 1;
  at::Tensor tokens{};            ///< int32 [M, P]: the token at each place of each block; -1: none
  at::Tensor mixing{};            ///< float32 [M, M], C: rows are output blocks
  at::Tensor q_norm{}, k_norm{};  ///< float32 [H * D]: weights of the RMS norms; undefined: no norm
  double norm_eps = 0;            ///< of these norms
  at::Tensor rotation{};          ///< float32 [N, D]: cosine and sine of each pair (2i, 2i + 1); undefined: no rotation
  BlockNormalizer normalizer = BlockNormalizer::kNone;
  double normalizer_eps = 0;    ///< added to a normalizer
  double least_normalizer = 0;  ///< divisors are at least so far from zero, sign kept
  at::Tensor head_norm{};       ///< float32 [D]: weight of the norm of each head's result; undefined: no norm
  double head_eps = 0;          ///< of that norm
  at::Tensor gate{};  ///< bfloat16 [B, N, H * D], contiguous: results are multiplied with its SiLU, or undefined
};

struct BlockAttentionResult {
  at::Tensor out;         ///< bfloat16 [B, N, H * D]
  at::Tensor normalizer;  ///< float32 [B, H, M, P] before the guard, normalizer_eps at places without a token (kSums);
                          ///< undefined for kNone
};

/// Whether block_attention takes q, k and v on this machine: bfloat16 on a CPU with AVX512-BF16, an even head_dim of at
/// most 256, contiguous last axes, nothing empty, and no gradient wanted.
bool can_attend_blocks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads);

/// The operator. Unless kFloat, features and mixed summaries are rounded to bfloat16; with kTiles summaries and mixing
/// weights too. Sums, normalizers and norms are float32 always. Blocks,
/// ragged ones too, are read from raster order, grouped tokens are not written to memory. With Normalizer kProducts a
/// place that a ragged block lacks counts with the mean of the block's own products. A sample's result depends on no
/// other sample and not on the number of threads. Throws c10::Error unless can_attend_blocks, and for shapes that do
/// not fit. Source: MHLA, arXiv:2601.07832.
BlockAttentionResult block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const BlockAttention& plan,
                                     AttentionProducts products = best_attention_products());

}  // namespace tessera
