#pragma once

// What our .cu files use of the CUDA runtime, for a C++ compiler without CUDA: kernels run on the CPU when they are
// launched, each thread a fiber, and blocks and threads in an order drawn from a seed. See fibers.h.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/support/cuda/fibers.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the fiber that runs

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719
};
using cudaStream_t = struct EmulatedStream*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace tessera::test::emulator {

/// The value of lane `source` of the calling thread's warp.
template <typename T>
T from_lane(unsigned mask, T value, int source, const Site& site) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(value));
  bits = exchange(mask, bits, source, site);
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline int lane() {
  return static_cast<int>(threadIdx.x % 32);
}

}  // namespace tessera::test::emulator

// The builtins stand for the place of the call; clang 14 has no std::source_location.
inline void __syncthreads(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
  tessera::test::emulator::block_barrier({file, line});
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, const char* file = __builtin_FILE(),
                  unsigned line = __builtin_LINE()) {
  return tessera::test::emulator::from_lane(mask, value, tessera::test::emulator::lane() ^ lanes, {file, line});
}

inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorLaunchFailure:
      break;
  }
  return tessera::test::emulator::failure().c_str();
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  using namespace tessera::test;
  const dim3 grid = config->gridDim, threads = config->blockDim;
  const unsigned count = threads.x * threads.y * threads.z;
  if (count == 0 || count > 1024 || grid.x * grid.y * grid.z == 0) return cudaErrorInvalidConfiguration;
  const auto place = [&](unsigned block, unsigned thread) {
    threadIdx = {thread % threads.x, thread / threads.x % threads.y, thread / threads.x / threads.y};
    blockIdx = {block % grid.x, block / grid.x % grid.y, block / grid.x / grid.y};
  };
  blockDim = threads;
  gridDim = grid;
  const bool ran = emulator::run({grid.x * grid.y * grid.z, count}, place, [&] { kernel(arguments...); });
  return ran ? cudaSuccess : cudaErrorLaunchFailure;
}
