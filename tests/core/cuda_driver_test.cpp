#include "core/cuda_driver.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(CudaDriver, EachProblemIsALine) {
  const auto problem = [](const CudaDriver& driver) { return driver_problem(driver); };
  EXPECT_EQ(problem({.installed = true, .init = 0, .version = 13000, .devices = 1}), "");
  EXPECT_EQ(problem({.installed = true, .init = 0, .version = 13020, .devices = 8}), "");
  EXPECT_EQ(problem({}), "the NVIDIA driver (libcuda.so.1) is not installed; install it, or use --device cpu");
  EXPECT_EQ(
      problem({.installed = true, .init = 34}),
      "libcuda.so.1 is the toolkit's stub, not the NVIDIA driver; install the driver, or take the stub's folder out "
      "of LD_LIBRARY_PATH, or use --device cpu");
  const std::string old =
      "the NVIDIA driver is too old: it supports CUDA 12.8, and 13.0 is needed; update the driver, or "
      "use --device cpu";
  EXPECT_EQ(problem({.installed = true, .init = 0, .version = 12080, .devices = 1}), old);
  EXPECT_EQ(problem({.installed = true, .init = 35, .version = 12080}), old);
  EXPECT_EQ(problem({.installed = true, .init = 100, .version = 12080}), old) << "which is the first thing to change";
  const std::string none =
      "the driver reports no CUDA device; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device "
      "cpu";
  EXPECT_EQ(problem({.installed = true, .init = 100, .version = 13000}), none);
  EXPECT_EQ(problem({.installed = true, .init = 0, .version = 13000, .devices = 0}), none);
  EXPECT_EQ(problem({.installed = true, .init = 999, .version = 13000}),
            "the NVIDIA driver does not start (error 999); check nvidia-smi, or use --device cpu");
}

}  // namespace
}  // namespace tessera
