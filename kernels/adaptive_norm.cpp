#include "kernels/adaptive_norm.h"

#include <ATen/ATen.h>

#include "core/parallel_for.h"
#include "kernels/adaptive_norm_simd.h"
#include "kernels/device_kernels.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

/// Rows [C] or [B, 1, C] that a device's kernel multiplies and adds, in x's dtype.
struct Modulation {
  at::Tensor scale, shift;
  float scale_offset;
  bool shared;
};

/// The kernels when nothing else wants a gradient either.
const cuda::Kernels* kernels_for(const at::Tensor& x, std::initializer_list<at::Tensor> others) {
  for (const at::Tensor& other : others)
    if (other.defined() && (needs_gradient(other) || other.device() != x.device())) return nullptr;
  return device_kernels(x);
}

/// `update` and `gate` may be undefined; x [B, N, C].
NormedSum device_norm(const cuda::Kernels& kernels, const at::Tensor& x, const at::Tensor& update,
                      const at::Tensor& gate, const Modulation& modulation, double eps) {
  const auto dtype = x.scalar_type();
  const auto dense = [&](const at::Tensor& t) { return t.defined() ? dense_like(t, x, dtype) : t; };
  const at::Tensor from = x.contiguous(), more = dense(update), factor = dense(gate);
  const at::Tensor scale = dense(modulation.scale), shift = dense(modulation.shift);
  const NormedSum out{update.defined() ? at::empty_like(from) : from, at::empty_like(from)};
  const int64_t rows = modulation.shared ? 1 : x.size(0), channels = x.size(2);
  TORCH_CHECK(scale.numel() == rows * channels && shift.numel() == rows * channels &&
                  (!more.defined() || more.numel() == x.numel()) &&
                  (!factor.defined() || factor.numel() == x.size(0) * channels),
              "device_norm: x is ", x.sizes(), ", scale ", scale.sizes(), ", shift ", shift.sizes());
  const auto data = [](const at::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; };
  run_kernel(kernels, x, kernels.adaptive_norm,
             cuda::AdaptiveNorm{.type = value_of(dtype),
                                .x = data(from),
                                .update = data(more),
                                .gate = data(factor),
                                .scale = data(scale),
                                .shift = data(shift),
                                .scale_offset = modulation.scale_offset,
                                .shared = modulation.shared,
                                .eps = static_cast<float>(eps),
                                .samples = x.size(0),
                                .tokens = x.size(1),
                                .channels = static_cast<int32_t>(channels),
                                .h = update.defined() ? out.sum.mutable_data_ptr() : nullptr,
                                .y = out.normed.mutable_data_ptr()});
  return out;
}

at::Tensor sum_of(const at::Tensor& x, const at::Tensor& update, const at::Tensor& gate) {
  return gate.defined() ? at::addcmul(x, update, gate) : x + update;
}

}  // namespace

at::Tensor adaptive_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps) {
  if (const auto* kernels = kernels_for(x, {shift, scale}))
    return device_norm(*kernels, x, {}, {}, {scale, shift, 1.0f, false}, eps).normed;
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

NormedSum add_adaptive_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& gate,
                            const at::Tensor& shift, const at::Tensor& scale, double eps) {
  if (const auto* kernels = kernels_for(x, {update, gate, shift, scale}))
    return device_norm(*kernels, x, update, gate, {scale, shift, 1.0f, false}, eps);
  const at::Tensor sum = sum_of(x, update, gate);
  return {sum, adaptive_norm(sum, shift, scale, eps)};
}

NormedSum add_layer_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& gate,
                         const at::Tensor& weight, const at::Tensor& bias, double eps) {
  const auto like_x = [&](const at::Tensor& t) {
    return t.defined() ? c10::optional<at::Tensor>(t.to(x.scalar_type())) : c10::nullopt;
  };
  if (weight.defined() && bias.defined())
    if (const auto* kernels = kernels_for(x, {update, gate, weight, bias}))
      return device_norm(*kernels, x, update, gate, {weight, bias, 0.0f, true}, eps);
  const at::Tensor sum = sum_of(x, update, gate);
  return {sum, at::layer_norm(sum, {x.size(-1)}, like_x(weight), like_x(bias), eps)};
}

}  // namespace tessera
