#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace tessera {

/// Splits the fused weight or bias `name` [3n, ...] of an attention layer into prefix + "to_q.", "to_k.", "to_v.", each
/// a view [n, ...]. Does nothing when `tensors` lacks it. Throws Error naming `where` and the tensor when its rows do
/// not divide into three equal parts.
void split_qkv(std::map<std::string, at::Tensor>& tensors, const std::string& where, const std::string& name,
               const std::string& prefix);

}  // namespace tessera
