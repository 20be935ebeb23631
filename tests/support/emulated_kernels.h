#pragma once

#include <ATen/ATen.h>

#include "kernels/device_kernels.h"
#include "tests/support/cuda/fibers.h"
#include "tests/support/gradients.h"
#include "tests/support/guarded_memory.h"

namespace tessera::test {

/// While it lives, the CPU counts as a device with kernels of our own: those of kernels/cuda under the emulator.
class EmulatedKernels {
 public:
  explicit EmulatedKernels(unsigned order = 0) {
    emulator::set_order(order);
    use_device_kernels(at::kCPU, tessera_cuda_kernels());
  }
  ~EmulatedKernels() { use_device_kernels(at::kCPU, nullptr); }
};

constexpr unsigned kOrders[] = {0, 1, 7};
constexpr at::ScalarType kDeviceTypes[] = {at::kFloat, at::kBFloat16, at::kHalf};

/// Half of a unit in the last place, relative.
inline double rounding_of(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? 0x1p-8 : dtype == at::kHalf ? 0x1p-11 : 0x1p-24;
}

/// y is `want` (float64), computed with an error of `slack` times the largest number and rounded once.
inline void expect_rounded_once(const at::Tensor& y, const at::Tensor& want, double slack = 2e-6) {
  ASSERT_EQ(y.sizes(), want.sizes());
  ASSERT_EQ(want.scalar_type(), at::kDouble);
  const at::Tensor error = (y.to(at::kDouble) - want).abs();
  const double most = std::max(want.abs().max().item<double>(), 1.0);
  const at::Tensor excess = error - want.abs() * rounding_of(y.scalar_type());
  EXPECT_LE(excess.max().item<double>(), slack * most) << y.scalar_type();
  EXPECT_FALSE(y.isnan().any().item<bool>());
}

inline at::Tensor exact(const at::Tensor& t) {
  return t.to(at::kDouble);
}

}  // namespace tessera::test
