#pragma once

#include <string>

namespace tessera {

/// What the NVIDIA driver (libcuda.so.1) says of itself. It is asked directly: libtorch_cpu has no such questions, and
/// libtorch_cuda, which is not linked, crashes or is silent where the driver is missing or too old.
struct CudaDriver {
  bool installed = false;  ///< libcuda.so.1 was found
  int init = 0;            ///< what cuInit returned, a CUresult
  int version = 0;         ///< the CUDA version that it supports, 1000 * major + 10 * minor; 0: not told
  int devices = 0;
};

/// Asks the driver of this machine.
CudaDriver ask_cuda_driver();

/// The CUDA version that LibTorch is built with, as CudaDriver::version.
inline constexpr int kCudaVersion = 13000;

/// What is wrong and what to do, in one line; "" when the driver can be used. In this order: no driver, the stub that
/// comes with the toolkit in its place, a driver too old for kCudaVersion, no device, another failure.
std::string driver_problem(const CudaDriver& driver);

/// The major number of a device's compute capability; 0 when the driver does not say.
int cuda_major(int index);

}  // namespace tessera
