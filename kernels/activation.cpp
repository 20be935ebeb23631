#include "kernels/activation.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>  // ATen alone cannot give a kernel its own gradient

#include "core/parallel_for.h"
#include "kernels/activation_simd.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// GELU of x, or with `dy` the gradient of x.
at::Tensor apply_gelu(const at::Tensor& x, const at::Tensor* dy) {
  const at::Tensor out = at::empty_like(x);
  with_value_type(x.scalar_type(), [&](auto tag) {
    using Value = decltype(tag);
    parallel_for(0, x.numel(), kValuesPerTask, [&](int64_t begin, int64_t end) {
      const Value* from = values_of<Value>(x) + begin;
      Value* to = mutable_values_of<Value>(out) + begin;
      if (dy)
        gelu_backward(from, values_of<Value>(*dy) + begin, end - begin, to);
      else
        gelu(from, end - begin, to);
    });
  });
  return out;
}

class Gelu : public torch::autograd::Function<Gelu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return apply_gelu(x, nullptr);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor dy = gradients[0].contiguous();
    return {apply_gelu(context->get_saved_variables()[0], &dy)};
  }
};

}  // namespace

at::Tensor gelu_tanh(const at::Tensor& x) {
  if (!can_vectorize(x)) return gelu_tanh_composite(x);
  const at::Tensor dense = x.contiguous();
  return needs_gradient(x) ? Gelu::apply(dense) : apply_gelu(dense, nullptr);
}

at::Tensor gelu_tanh_composite(const at::Tensor& x) {
  return at::gelu(x, "tanh");
}

}  // namespace tessera
