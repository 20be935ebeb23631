#include "kernels/cuda/kernels.cuh"

namespace tessera::cuda {
namespace {

/// A block of threads for each token. What is read again comes from the first cache.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kMostThreads) adaptive_norm_kernel(const AdaptiveNorm a) {
  const int32_t C = a.channels, first = static_cast<int32_t>(threadIdx.x) * kWidth;
  const int32_t step = static_cast<int32_t>(blockDim.x) * kWidth;
  const int64_t sample = blockIdx.x / a.tokens, row = int64_t{blockIdx.x} * C;
  const auto* h = static_cast<const T*>(a.update ? a.h : a.x) + row;
  float sum = 0;
  for (int32_t c = first; c < C; c += step) {
    float v[kWidth];
    load(static_cast<const T*>(a.x) + row + c, v);
    if (a.update) {
      float update[kWidth], gate[kWidth];
      load(static_cast<const T*>(a.update) + row + c, update);
      if (a.gate) load(static_cast<const T*>(a.gate) + sample * C + c, gate);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        T rounded;
        round_into(v[i] + update[i] * (a.gate ? gate[i] : 1.0f), rounded);
        v[i] = to_float(rounded);
      }
      store(v, static_cast<T*>(a.h) + row + c);
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += v[i];
  }
  const float mean = block_sum(sum) / static_cast<float>(C);
  float squares = 0;
  for (int32_t c = first; c < C; c += step) {
    float v[kWidth];
    load(h + c, v);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares += (v[i] - mean) * (v[i] - mean);
  }
  const float deviation = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(C) + a.eps);
  const int64_t modulation = a.shared ? 0 : sample * C;
  for (int32_t c = first; c < C; c += step) {
    float v[kWidth], scale[kWidth], shift[kWidth];
    load(h + c, v);
    load(static_cast<const T*>(a.scale) + modulation + c, scale);
    load(static_cast<const T*>(a.shift) + modulation + c, shift);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) v[i] = (v[i] - mean) * deviation * (scale[i] + a.scale_offset) + shift[i];
    store(v, static_cast<T*>(a.y) + row + c);
  }
}

}  // namespace

int adaptive_norm(const AdaptiveNorm& a, void* stream) {
  return with_value(a.type, [&](auto type) {
    using T = decltype(type);
    const bool vectors = aligned(a.x, a.update, a.gate, a.scale, a.shift, a.h, a.y);
    return with_width(vectors, a.channels, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      return launch(&adaptive_norm_kernel<T, kWidth>, a.samples * a.tokens, threads_for(a.channels / kWidth), stream,
                    a);
    });
  });
}

}  // namespace tessera::cuda
