#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace tessera {

/// Takes the fused weight or bias `name` [3n, ...] of an attention layer apart into prefix + "to_q.", "to_k.", "to_v.",
/// each [n, ...] and a view; nothing happens when `tensors` lacks it. Throws Error naming `where` and the tensor when
/// its rows are not three equal parts.
void split_qkv(std::map<std::string, at::Tensor>& tensors, const std::string& where, const std::string& name,
               const std::string& prefix);

}  // namespace tessera
