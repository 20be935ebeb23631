#include "models/rope.h"

#include <ATen/ATen.h>

#include "models/layers.h"

namespace tessera {

at::Tensor rope_table(const Extent3& grid, int64_t head_dim, at::Device device) {
  TORCH_CHECK(head_dim % 2 == 0, "rope_table: head_dim must be even, got ", head_dim);
  const int64_t pairs = head_dim / 2, third = pairs / 3;
  const Extent3 sizes{pairs - 2 * third, third, third};
  const auto options = at::TensorOptions().dtype(at::kDouble).device(device);
  std::vector<at::Tensor> parts;
  for (int64_t axis = 0; axis < 3; ++axis) {
    const int64_t size = sizes[axis];
    if (size == 0) continue;
    const at::Tensor exponent = at::arange(size, options) / static_cast<double>(size);
    const at::Tensor angles = at::outer(at::arange(grid[axis], options), at::pow(10000.0, exponent.neg()));
    std::vector<int64_t> shape{1, 1, 1, size};
    shape[axis] = grid[axis];
    parts.push_back(angles.view(shape).expand({grid[0], grid[1], grid[2], size}));
  }
  const at::Tensor angles = at::cat(parts, -1).view({-1, 1, pairs});
  return at::view_as_complex(at::stack({angles.cos(), angles.sin()}, -1).to(at::kFloat));
}

at::Tensor apply_rope(const at::Tensor& x, const at::Tensor& table) {
  const at::Tensor pairs = at::view_as_complex(x.to(wide_type(x)).unflatten(-1, {-1, 2}));
  return at::view_as_real(pairs * table).flatten(-2);
}

}  // namespace tessera
