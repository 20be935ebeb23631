#include "kernels/device_blocks.h"

#include <ATen/ATen.h>

#include "kernels/value_type.h"

namespace tessera {
namespace {

constexpr int64_t kPart = 128;

void copy_extent(const std::array<int64_t, 3>& from, int32_t (&to)[3]) {
  for (size_t axis = 0; axis < 3; ++axis) to[axis] = static_cast<int32_t>(from[axis]);
}

cuda::BlockCut cut_of(const GridBlocks& grid) {
  cuda::BlockCut cut{};
  copy_extent(grid.tokens, cut.tokens);
  copy_extent(grid.size, cut.size);
  copy_extent(grid.blocks, cut.blocks);
  return cut;
}

int64_t product_of(const std::array<int64_t, 3>& sizes) {
  return sizes[0] * sizes[1] * sizes[2];
}

/// Undefined stays undefined.
at::Tensor dense_or_none(const at::Tensor& t, const at::Tensor& x, at::ScalarType dtype) {
  return t.defined() ? dense_like(t, x, dtype) : t;
}

const void* data_of(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr() : nullptr;
}

}  // namespace

std::pair<at::Tensor, at::Tensor> device_block_features(const cuda::Kernels& kernels, const at::Tensor& x,
                                                        const DeviceFeatures& features, const GridBlocks& grid,
                                                        at::ScalarType dtype, bool with_unrotated) {
  const int64_t B = x.size(0), N = x.size(1), heads = features.heads, D = x.size(2) / heads;
  TORCH_CHECK(N == product_of(grid.tokens), "device_block_features: x is ", x.sizes(), ", not of ",
              at::IntArrayRef(grid.tokens), " tokens");
  const at::Tensor dense = x.contiguous(), weight = dense_or_none(features.weight, x, at::kFloat);
  const std::vector<int64_t> shape{product_of(grid.blocks), B, heads, product_of(grid.size), D};
  const at::Tensor y = at::empty(shape, x.options().dtype(dtype));
  const at::Tensor unrotated = with_unrotated ? at::empty(shape, x.options().dtype(at::kFloat)) : at::Tensor();
  run_kernel(kernels, x, kernels.features,
             cuda::Features{.x_type = value_of(x.scalar_type()),
                            .y_type = value_of(dtype),
                            .x = data_of(dense),
                            .weight = values_of<float>(weight),
                            .eps = static_cast<float>(features.eps),
                            .features = true,
                            .cosines = values_of<float>(features.cosines),
                            .sines = values_of<float>(features.sines),
                            .grouped = true,
                            .cut = cut_of(grid),
                            .batch = B,
                            .tokens = N,
                            .heads = static_cast<int32_t>(heads),
                            .head_dim = static_cast<int32_t>(D),
                            .y = y.mutable_data_ptr(),
                            .unrotated = mutable_values_of<float>(unrotated)});
  return {y, unrotated};
}

at::Tensor device_rms_norm(const cuda::Kernels& kernels, const at::Tensor& x, const at::Tensor& weight, double eps,
                           at::ScalarType dtype) {
  const int64_t C = x.size(-1), N = x.numel() / C;
  const int64_t part = C % kPart == 0 ? kPart : C;  // a warp's share of a row
  const at::Tensor dense = x.contiguous(), gain = dense_like(weight, x, at::kFloat);
  const at::Tensor y = at::empty(x.sizes(), x.options().dtype(dtype));
  run_kernel(kernels, x, kernels.features,
             cuda::Features{.x_type = value_of(x.scalar_type()),
                            .y_type = value_of(dtype),
                            .x = data_of(dense),
                            .weight = values_of<float>(gain),
                            .eps = static_cast<float>(eps),
                            .features = false,
                            .cosines = nullptr,
                            .sines = nullptr,
                            .grouped = false,
                            .cut = {},
                            .batch = 1,
                            .tokens = N,
                            .heads = static_cast<int32_t>(C / part),
                            .head_dim = static_cast<int32_t>(part),
                            .y = y.mutable_data_ptr(),
                            .unrotated = nullptr});
  return y;
}

at::Tensor device_ungroup(const cuda::Kernels& kernels, const at::Tensor& x, const DeviceUngroup& ungroup,
                          const GridBlocks& grid, at::ScalarType dtype) {
  const int64_t B = x.size(1), heads = x.size(2), D = x.size(4), N = product_of(grid.tokens);
  const at::Tensor dense = x.contiguous(), weight = dense_or_none(ungroup.weight, x, at::kFloat);
  const at::Tensor normalizer = dense_or_none(ungroup.normalizer, x, at::kFloat);
  const at::Tensor gate = dense_or_none(ungroup.gate, x, dtype);
  const at::Tensor y = at::empty({B, N, heads * D}, x.options().dtype(dtype));
  run_kernel(kernels, x, kernels.ungroup,
             cuda::Ungroup{.x_type = value_of(x.scalar_type()),
                           .y_type = value_of(dtype),
                           .x = data_of(dense),
                           .normalizer = values_of<float>(normalizer),
                           .least_normalizer = static_cast<float>(ungroup.least_normalizer),
                           .weight = values_of<float>(weight),
                           .eps = static_cast<float>(ungroup.eps),
                           .gate = data_of(gate),
                           .cut = cut_of(grid),
                           .batch = B,
                           .tokens = N,
                           .heads = static_cast<int32_t>(heads),
                           .head_dim = static_cast<int32_t>(D),
                           .y = y.mutable_data_ptr()});
  return y;
}

at::Tensor device_key_sums(const cuda::Kernels& kernels, const at::Tensor& k) {
  const at::Tensor dense = dense_like(k, k, at::kFloat);
  const at::Tensor z = at::empty({k.size(0), k.size(1), k.size(2), 1, k.size(4)}, dense.options());
  run_kernel(kernels, k, kernels.key_sums,
             cuda::KeySums{.k = values_of<float>(dense),
                           .groups = k.size(0) * k.size(1) * k.size(2),
                           .places = static_cast<int32_t>(k.size(3)),
                           .head_dim = static_cast<int32_t>(k.size(4)),
                           .z = mutable_values_of<float>(z)});
  return z;
}

at::Tensor device_products(const cuda::Kernels& kernels, const at::Tensor& q, const at::Tensor& z, double eps,
                           const GridBlocks* grid) {
  const at::Tensor queries = dense_like(q, q, at::kFloat), sums = dense_like(z, q, at::kFloat);
  const at::Tensor n = at::empty({q.size(0), q.size(1), q.size(2), q.size(3), 1}, queries.options());
  run_kernel(kernels, q, kernels.products,
             cuda::Products{.q = values_of<float>(queries),
                            .z = values_of<float>(sums),
                            .eps = static_cast<float>(eps),
                            .fill = grid != nullptr,
                            .cut = grid ? cut_of(*grid) : cuda::BlockCut{},
                            .groups = q.size(0) * q.size(1) * q.size(2),
                            .groups_of_block = static_cast<int32_t>(q.size(1) * q.size(2)),
                            .places = static_cast<int32_t>(q.size(3)),
                            .head_dim = static_cast<int32_t>(q.size(4)),
                            .n = mutable_values_of<float>(n)});
  return n;
}

at::Tensor device_depthwise(const cuda::Kernels& kernels, const at::Tensor& base, const at::Tensor& x,
                            const std::array<int64_t, 3>& tokens, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor dense = x.contiguous(), onto = dense_or_none(base, x, x.scalar_type());
  const at::Tensor taps = dense_like(weight, x, at::kFloat), offset = dense_or_none(bias, x, at::kFloat);
  const at::Tensor y = at::empty_like(dense);
  cuda::Depthwise arguments{.type = value_of(x.scalar_type()),
                            .x = data_of(dense),
                            .base = data_of(onto),
                            .weight = values_of<float>(taps),
                            .bias = values_of<float>(offset),
                            .tokens = {},
                            .kernel = {1, 1, 1},
                            .batch = x.size(0),
                            .channels = static_cast<int32_t>(x.size(2)),
                            .y = y.mutable_data_ptr()};
  copy_extent(tokens, arguments.tokens);
  for (int64_t axis = 2; axis < weight.dim(); ++axis)
    arguments.kernel[3 - weight.dim() + axis] = static_cast<int32_t>(weight.size(axis));
  run_kernel(kernels, x, kernels.depthwise, arguments);
  return y;
}

}  // namespace tessera
