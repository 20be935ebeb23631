#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include "kernels/bfloat16_bits.h"

// Which tensors the vectorized kernels of norms and activations take, and how they read them.
namespace tessera {

/// The type that sums and norms of x are computed in: float32, or float64 for float64.
at::ScalarType wide_type(const at::Tensor& x);

/// True where the vectorized kernels apply: a non-empty float32 or bfloat16 tensor on the CPU.
bool can_vectorize(const at::Tensor& x);

inline bool needs_gradient(const at::Tensor& x) {
  return c10::GradMode::is_enabled() && x.requires_grad();
}

/// Values that one task of parallel_for takes at least.
constexpr int64_t kValuesPerTask = 32768;

/// Calls body(tag) with a value of the kernels' type for `dtype`, float32 or bfloat16.
template <typename Body>
void with_value_type(at::ScalarType dtype, const Body& body) {
  if (dtype == at::kFloat)
    body(float{});
  else
    body(Bfloat16Bits{});
}

/// The values of a contiguous tensor; null where it is undefined.
template <typename Value>
const Value* values_of(const at::Tensor& t) {
  return t.defined() ? static_cast<const Value*>(t.const_data_ptr()) : nullptr;
}
template <typename Value>
Value* mutable_values_of(const at::Tensor& t) {
  return t.defined() ? static_cast<Value*>(t.mutable_data_ptr()) : nullptr;
}

}  // namespace tessera
