#pragma once

#include <ATen/core/Tensor.h>

// Products by LibTorch's oneDNN with weights in the order that its tile registers (AMX) take, put so once. From plain
// weights it copies them into that order in every product: on a Xeon with AMX 1.5 to 2.2 million million operations a
// second on two cores, against 2.1 to 3.1 of arranged ones. Without AMX the two are within 7%, and equal bit for bit.
namespace tessera {

/// Whether this machine multiplies arranged weights faster, and this weight can be arranged: a bfloat16 matrix in
/// memory order on the CPU.
bool can_arrange(const at::Tensor& weight);

/// A copy of the weight that only library_linear takes (layout Mkldnn). Needs can_arrange.
at::Tensor arranged(const at::Tensor& weight);

/// Whether a weight is one that arranged() made.
bool is_arranged(const at::Tensor& weight);

/// x W^T + bias: x [..., inputs] bfloat16, bias [outputs] bfloat16 or undefined; summed in float32, rounded once. How
/// the sums of a row are split may depend on the number of rows and threads. Without gradients.
at::Tensor library_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace tessera
