#include "kernels/cuda/kernels.cuh"

namespace tessera::cuda {
namespace {

const char* error_text(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

constexpr Kernels kKernels = {kVersion,   &error_text, &features, &ungroup, &adaptive_norm,
                              &depthwise, &key_sums,   &products, &unpack};

}  // namespace
}  // namespace tessera::cuda

extern "C" __attribute__((visibility("default"))) const tessera::cuda::Kernels* tessera_cuda_kernels() {
  return &tessera::cuda::kKernels;
}
