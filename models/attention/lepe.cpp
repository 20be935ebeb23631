#include "models/attention/lepe.h"

#include <ATen/ATen.h>

#include "kernels/device_blocks.h"
#include "kernels/value_type.h"

namespace tessera {

at::Tensor depthwise_3d(const at::Tensor& x, const Extent3& grid, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t B = x.size(0), C = x.size(2);
  const int64_t T = grid[0], H = grid[1], W = grid[2];
  const at::Tensor taps = weight.to(x.scalar_type());
  // Channels-last 2D convolutions of all frames at once, one for each temporal tap.
  const at::Tensor frames = x.reshape({B * T, H, W, C}).permute({0, 3, 1, 2});
  const auto tap = [&](int64_t t, const c10::optional<at::Tensor>& b) {
    return at::conv2d(frames, taps.select(2, t), b, 1, 1, 1, C).permute({0, 2, 3, 1}).reshape({B, T, H * W * C});
  };
  at::Tensor out = tap(1, bias.to(x.scalar_type()));
  if (T > 1) {
    out = out + at::constant_pad_nd(tap(0, {}).narrow(1, 0, T - 1), {0, 0, 1, 0}) +
          at::constant_pad_nd(tap(2, {}).narrow(1, 1, T - 1), {0, 0, 0, 1});
  }
  return out.view({B, T * H * W, C});
}

at::Tensor depthwise_2d(const at::Tensor& x, const Extent3& grid, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t B = x.size(0), C = x.size(2);
  const auto [T, H, W] = grid;
  const at::Tensor frames = x.reshape({B * T, H, W, C}).permute({0, 3, 1, 2});
  const auto dtype = x.scalar_type();
  const at::Tensor out = at::conv2d(frames, weight.to(dtype), bias.to(dtype), 1, weight.size(2) / 2, 1, C);
  return out.permute({0, 2, 3, 1}).reshape({B, T * H * W, C});
}

at::Tensor add_depthwise(const at::Tensor& base, const at::Tensor& x, const Extent3& grid, const at::Tensor& weight,
                         const at::Tensor& bias) {
  const bool learns = needs_gradient(base) || needs_gradient(weight) || needs_gradient(bias);
  if (const auto* kernels = device_kernels(x); kernels && !learns && weight.numel() <= cuda::kMostTaps * x.size(2))
    return device_depthwise(*kernels, base, x, grid, weight, bias);
  return base + (weight.dim() == 5 ? depthwise_3d : depthwise_2d)(x, grid, weight, bias);
}

}  // namespace tessera
