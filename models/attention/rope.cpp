#include "models/attention/rope.h"

#include <ATen/ATen.h>

#include "kernels/value_type.h"

namespace tessera {

Rope make_rope(const Extent3& grid, int64_t head_dim, at::Device device) {
  TORCH_CHECK(head_dim % 2 == 0, "make_rope: head_dim must be even, got ", head_dim);
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
  const at::Tensor cosines = angles.cos().to(at::kFloat), sines = angles.sin().to(at::kFloat);
  return {at::view_as_complex(at::stack({cosines, sines}, -1)), at::stack({cosines, cosines}, -1).view({-1, head_dim}),
          at::stack({-sines, sines}, -1).view({-1, head_dim})};
}

at::Tensor apply_rope(const at::Tensor& x, const Rope& rope) {
  const at::Tensor pairs = at::view_as_complex(x.to(wide_type(x)).unflatten(-1, {-1, 2}));
  return at::view_as_real(pairs * rope.table).flatten(-2);
}

}  // namespace tessera
