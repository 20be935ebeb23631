#pragma once

#include <ATen/core/Tensor.h>

namespace tessera {

/// Whether group_norm_rows takes x: bfloat16 on the CPU, no gradient wanted.
bool has_group_norm(const at::Tensor& x, const at::Tensor& weight);

/// Group normalization of x [B, N, C] over the N rows and the channels of each of `groups` groups, (x - mean) /
/// sqrt(variance + eps) * weight + bias, then SiLU where `silu`; weight and bias [C]. Statistics float32 over 256 rows
/// and float64 beyond, everything else float32, the result rounded once to x's dtype. Two passes over memory. Does not
/// depend on the number of threads.
at::Tensor group_norm_rows(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                           double eps, bool silu);

}  // namespace tessera
