#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/attention_products.h"

namespace tessera {

/// Whether tiled_attention takes q [B, N, heads * D] and k, v [B, L, heads * D]: bfloat16 on a CPU that has
/// AVX512-BF16, an even head_dim D of at most 512, contiguous last axes, nothing empty, and no gradient wanted.
bool can_tile_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads);

/// softmax(q k^T / sqrt(D)) v for each head, without a mask; returns [B, N, heads * D] in bfloat16. Tokens may lie
/// apart (slices of one product for q, k and v). Blocks of queries meet 256 keys at a time with a running maximum and
/// sum, so no matrix of scores is kept; the keys and values of a few heads at a time are reordered for the products.
/// Unless kFloat, weights are rounded to bfloat16; scores, exponentials and sums are float32 always. A token's result
/// depends on no other query, no other sample and not on the number of threads. Throws c10::Error unless
/// can_tile_attention. Source: FlashAttention, arXiv:2205.14135.
at::Tensor tiled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                           AttentionProducts products = best_attention_products());

}  // namespace tessera
