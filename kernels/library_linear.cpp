#include "kernels/library_linear.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "kernels/instruction_set.h"
#include "kernels/packed.h"

namespace tessera {
namespace {

/// Its operators are in no header of ATen's that does not include all of them.
c10::OperatorHandle library_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
}

at::Tensor call(const c10::OperatorHandle& handle, std::vector<c10::IValue> stack) {
  handle.callBoxed(stack);
  return stack.front().toTensor();
}

c10::IValue or_none(const at::Tensor& tensor) {
  return tensor.defined() ? c10::IValue(tensor) : c10::IValue();
}

}  // namespace

bool can_arrange(const at::Tensor& weight) {
  return has_tile_registers() && weight.is_cpu() && !packed_weight(weight) && !is_arranged(weight) &&
         weight.scalar_type() == at::kBFloat16 && weight.dim() == 2 && weight.numel() > 0;
}

at::Tensor arranged(const at::Tensor& weight) {
  constexpr int64_t kRows = 1024;  // the library's hint: as many as a network's tokens
  static const c10::OperatorHandle handle = library_operator("mkldnn::_reorder_linear_weight");
  return call(handle, {weight.contiguous(), kRows});
}

bool is_arranged(const at::Tensor& weight) {
  return weight.is_mkldnn();
}

at::Tensor library_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  static const c10::OperatorHandle handle = library_operator("mkldnn::_linear_pointwise");
  const c10::List<c10::optional<at::Scalar>> no_scalars;
  return call(handle, {x, weight, or_none(bias), "none", no_scalars, c10::IValue()});
}

}  // namespace tessera
