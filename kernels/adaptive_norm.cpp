#include "kernels/adaptive_norm.h"

#include <ATen/ATen.h>

#include "core/parallel_for.h"
#include "kernels/adaptive_norm_simd.h"
#include "kernels/value_type.h"

namespace tessera {

at::Tensor adaptive_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps) {
  if (!can_vectorize(x) || needs_gradient(x) || needs_gradient(shift) || needs_gradient(scale))
    return adaptive_norm_composite(x, shift, scale, eps);
  const int64_t tokens = x.size(1), channels = x.size(2);
  const at::Tensor dense = x.contiguous(), out = at::empty_like(dense);
  const at::Tensor offset = shift.to(at::kFloat).contiguous(), factor = (scale.to(at::kFloat) + 1).contiguous();
  TORCH_CHECK(offset.numel() == x.size(0) * channels && factor.numel() == offset.numel(), "adaptive_norm: x is ",
              x.sizes(), ", shift ", shift.sizes(), ", scale ", scale.sizes());
  with_value_type(x.scalar_type(), [&](auto tag) {
    using Value = decltype(tag);
    const AdaptiveRows rows{channels, tokens, values_of<float>(factor), values_of<float>(offset),
                            static_cast<float>(eps)};
    parallel_for(0, x.size(0) * tokens, std::max<int64_t>(1, kValuesPerTask / channels),
                 [&](int64_t begin, int64_t end) {
                   adaptive_norm_rows(rows, begin, end, values_of<Value>(dense), mutable_values_of<Value>(out));
                 });
  });
  return out;
}

at::Tensor adaptive_norm_composite(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps) {
  return at::addcmul(shift, at::layer_norm(x, {x.size(-1)}, {}, {}, eps), scale + 1);
}

}  // namespace tessera
