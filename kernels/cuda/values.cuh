#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/launch.h"

// Numbers of every type as float32, vectors of them, sums over a warp or a block, and launches.
namespace tessera::cuda {

constexpr int kWarp = 32, kMostThreads = 256;
constexpr int kVector = 4;  // numbers that a thread takes at once where pointers and sizes allow
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float to_float(float v) {
  return v;
}
__device__ inline float to_float(__nv_bfloat16 v) {
  return __bfloat162float(v);
}
__device__ inline float to_float(__half v) {
  return __half2float(v);
}
__device__ inline void round_into(float v, float& out) {
  out = v;
}
__device__ inline void round_into(float v, __nv_bfloat16& out) {
  out = __float2bfloat16(v);
}
__device__ inline void round_into(float v, __half& out) {
  out = __float2half(v);
}

template <typename T, int kWidth>
struct alignas(kWidth == kVector ? sizeof(T) * kWidth : sizeof(T)) Pack {
  T v[kWidth];
};

/// kWidth numbers; kVector of them must be aligned to their size.
template <int kWidth, typename T>
__device__ inline void load(const T* from, float (&to)[kWidth]) {
  const Pack<T, kWidth> pack = *reinterpret_cast<const Pack<T, kWidth>*>(from);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) to[i] = to_float(pack.v[i]);
}

template <int kWidth, typename T>
__device__ inline void store(const float (&from)[kWidth], T* to) {
  Pack<T, kWidth> pack;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) round_into(from[i], pack.v[i]);
  *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
}

__device__ inline float warp_sum(float v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v += __shfl_xor_sync(kAllLanes, v, step);
  return v;
}

/// The sum over a block of whole warps, the same in every thread.
__device__ inline float block_sum(float v) {
  __shared__ float parts[kMostThreads / kWarp];
  v = warp_sum(v);
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = v;
  __syncthreads();
  float sum = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) sum += parts[warp];
  __syncthreads();  // parts may be written again
  return sum;
}

__device__ inline float silu(float v) {
  return v / (1.0f + expf(-v));
}

__device__ inline int32_t volume(const int32_t (&sizes)[3]) {
  return sizes[0] * sizes[1] * sizes[2];
}

/// The token at a place of a block, or -1.
__device__ inline int32_t token_at(const BlockCut& cut, int32_t block, int32_t place) {
  int32_t token = 0, stride = 1;
  bool inside = true;
#pragma unroll
  for (int axis = 2; axis >= 0; --axis) {
    const int32_t at = block % cut.blocks[axis] * cut.size[axis] + place % cut.size[axis];
    block /= cut.blocks[axis];
    place /= cut.size[axis];
    inside = inside && at < cut.tokens[axis];
    token += at * stride;
    stride *= cut.tokens[axis];
  }
  return inside ? token : -1;
}

/// The block of a token and its place there.
__device__ inline void locate(const BlockCut& cut, int32_t token, int32_t& block, int32_t& place) {
  int32_t block_stride = 1, place_stride = 1;
  block = place = 0;
#pragma unroll
  for (int axis = 2; axis >= 0; --axis) {
    const int32_t at = token % cut.tokens[axis];
    token /= cut.tokens[axis];
    block += at / cut.size[axis] * block_stride;
    place += at % cut.size[axis] * place_stride;
    block_stride *= cut.blocks[axis];
    place_stride *= cut.size[axis];
  }
}

/// Whole warps for `work` items, at most kMostThreads.
inline unsigned threads_for(int64_t work) {
  const int64_t warps = (work + kWarp - 1) / kWarp, most = kMostThreads / kWarp;
  return static_cast<unsigned>(kWarp * (warps < 1 ? 1 : warps < most ? warps : most));
}

template <typename Arguments>
int launch(void (*kernel)(Arguments), int64_t blocks, unsigned threads, void* stream, const Arguments& arguments) {
  if (blocks == 0) return 0;
  if (blocks > 0x7fffffff) return static_cast<int>(cudaErrorInvalidConfiguration);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  config.stream = static_cast<cudaStream_t>(stream);
  return static_cast<int>(cudaLaunchKernelEx(&config, kernel, arguments));
}

/// Whether each pointer (null passes) may be read in vectors of float32.
template <typename... Pointers>
bool aligned(Pointers... pointers) {
  return (... && (reinterpret_cast<uintptr_t>(pointers) % (kVector * sizeof(float)) == 0));
}

/// Calls body with a number of a type.
template <typename Body>
int with_value(Value type, const Body& body) {
  switch (type) {
    case Value::kFloat:
      return body(float{});
    case Value::kBfloat16:
      return body(__nv_bfloat16{});
    case Value::kHalf:
      return body(__half{});
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

template <int kNumber>
struct Constant {
  static constexpr int value = kNumber;
};

/// Calls body with how many numbers a thread takes at once in rows of `width`.
template <typename Body>
int with_width(bool vectors, int32_t width, const Body& body) {
  if (vectors && width % kVector == 0) return body(Constant<kVector>{});
  return width % 2 == 0 ? body(Constant<2>{}) : body(Constant<1>{});
}

}  // namespace tessera::cuda
