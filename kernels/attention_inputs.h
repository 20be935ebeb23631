#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/instruction_set.h"
#include "kernels/value_type.h"

namespace tessera {

/// Whether the attention kernels take q [B, N, heads * D] and k, v [B, L, heads * D] on this machine: bfloat16 on a CPU
/// with AVX512-BF16, an even D of at most `most_head_dim`, contiguous last axes, nothing empty, and no gradient wanted.
inline bool fits_attention_kernels(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                                   int64_t most_head_dim) {
  if (instruction_set() < InstructionSet::kAvx512Bf16) return false;
  for (const at::Tensor& t : {q, k, v})
    if (!t.is_cpu() || t.scalar_type() != at::kBFloat16 || t.dim() != 3 || t.numel() == 0 || t.stride(2) != 1 ||
        needs_gradient(t))
      return false;
  const int64_t head_dim = q.size(2) / heads;
  return head_dim % 2 == 0 && head_dim <= most_head_dim;
}

}  // namespace tessera
