#pragma once

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <torch/library.h>

namespace tessera::test {

inline at::Tensor meta_convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>&,
                                   at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                                   bool transposed, at::IntArrayRef, int64_t) {
  TORCH_CHECK(!transposed && input.is_meta() && weight.is_meta() && input.scalar_type() == weight.scalar_type());
  std::vector<int64_t> shape{input.size(0), weight.size(0)};
  for (int64_t axis = 2; axis < input.dim(); ++axis) {
    const int64_t i = axis - 2, reach = dilation[i] * (weight.size(axis) - 1) + 1;
    shape.push_back((input.size(axis) + 2 * padding[i] - reach) / stride[i] + 1);
  }
  return at::empty(shape, input.options());
}

inline std::tuple<at::Tensor, at::Tensor, at::Tensor> meta_layer_norm(const at::Tensor& input,
                                                                      at::IntArrayRef normalized,
                                                                      const std::optional<at::Tensor>& weight,
                                                                      const std::optional<at::Tensor>& bias, double) {
  for (const auto& t : {weight, bias}) TORCH_CHECK(!t || !t->defined() || t->is_meta());
  std::vector<int64_t> shape = input.sizes().vec();
  for (size_t i = 0; i < normalized.size(); ++i) shape[shape.size() - 1 - i] = 1;
  const at::Tensor statistic = at::empty(shape, input.options());
  return {at::empty_like(input), statistic, at::empty_like(statistic)};
}

inline std::tuple<at::Tensor, at::Tensor, at::Tensor> meta_group_norm(const at::Tensor& input,
                                                                      const std::optional<at::Tensor>& weight,
                                                                      const std::optional<at::Tensor>& bias, int64_t n,
                                                                      int64_t, int64_t, int64_t groups, double) {
  for (const auto& t : {weight, bias}) TORCH_CHECK(!t || !t->defined() || t->is_meta());
  const at::Tensor statistic = at::empty({n, groups}, input.options());
  return {at::empty_like(input), statistic, at::empty_like(statistic)};
}

inline at::Tensor meta_where(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other) {
  TORCH_CHECK(condition.is_meta());
  const std::vector<int64_t> shape = at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes()));
  return at::empty(shape, condition.options().dtype(at::result_type(self, other)));
}

inline at::Tensor& meta_where_out(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other,
                                  at::Tensor& out) {
  out.resize_(at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes())));
  return out;
}

inline at::Tensor meta_same(const at::Tensor& self) {
  return at::empty_like(self);
}

inline at::Tensor& meta_same_out(const at::Tensor& self, at::Tensor& out) {
  out.resize_(self.sizes());
  return out;
}

/// Shape-only kernels for those operations of our models that ATen defines on the meta device in Python alone. Call
/// before a model runs there.
inline void use_meta_kernels() {
  static const torch::Library library = [] {
    torch::Library meta(torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__);
    meta.impl("convolution_overrideable", TORCH_FN(meta_convolution));
    meta.impl("native_layer_norm", TORCH_FN(meta_layer_norm));
    meta.impl("native_group_norm", TORCH_FN(meta_group_norm));
    meta.impl("relu", TORCH_FN(meta_same));
    meta.impl("abs.out", TORCH_FN(meta_same_out));
    meta.impl("where.self", TORCH_FN(meta_where));
    meta.impl("where.self_out", TORCH_FN(meta_where_out));
    return meta;
  }();
}

}  // namespace tessera::test
