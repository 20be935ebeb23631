#include "kernels/cuda/kernels.cuh"

namespace tessera::cuda {
namespace {

/// A block of threads for each token, a warp for each head.
template <typename In, typename Out, int kWidth>
__global__ void __launch_bounds__(kMostThreads) ungroup_kernel(const Ungroup u) {
  const int32_t D = u.head_dim, places = volume(u.cut.size);
  const int64_t sample = blockIdx.x / u.tokens, token = blockIdx.x % u.tokens;
  int32_t block, place;
  locate(u.cut, static_cast<int32_t>(token), block, place);
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarp), warps = static_cast<int32_t>(blockDim.x / kWarp);
  for (auto h = static_cast<int32_t>(threadIdx.x / kWarp); h < u.heads; h += warps) {
    const int64_t from = ((block * u.batch + sample) * u.heads + h) * places + place;
    const int64_t to = ((sample * u.tokens + token) * u.heads + h) * D;
    const auto* x = static_cast<const In*>(u.x) + from * D;
    float divisor = 1.0f;
    if (u.normalizer) {
      const float n = u.normalizer[from];
      divisor = fabsf(n) < u.least_normalizer ? copysignf(u.least_normalizer, n) : n;  // a NaN stays one
    }
    float scale = 1.0f;
    if (u.weight) {
      float squares = 0;
      for (int32_t d = lane * kWidth; d < D; d += kWarp * kWidth) {
        float v[kWidth];
        load(x + d, v);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) squares += v[i] / divisor * (v[i] / divisor);
      }
      scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(D) + u.eps);
    }
    for (int32_t d = lane * kWidth; d < D; d += kWarp * kWidth) {
      float v[kWidth], gain[kWidth];
      load(x + d, v);
      if (u.weight) load(u.weight + d, gain);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) v[i] = v[i] / divisor * (u.weight ? scale * gain[i] : 1.0f);
      if (u.gate) {
        float gate[kWidth];
        load(static_cast<const Out*>(u.gate) + to + d, gate);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) v[i] *= silu(gate[i]);
      }
      store(v, static_cast<Out*>(u.y) + to + d);
    }
  }
}

template <typename In, typename Out>
int launch_ungroup(const Ungroup& u, void* stream) {
  return with_width(aligned(u.x, u.weight, u.gate, u.y), u.head_dim, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    return launch(&ungroup_kernel<In, Out, kWidth>, u.batch * u.tokens, threads_for(int64_t{u.heads} * kWarp), stream,
                  u);
  });
}

}  // namespace

int ungroup(const Ungroup& u, void* stream) {
  return with_value(u.y_type, [&](auto y) {
    using Out = decltype(y);
    if (u.x_type == Value::kFloat) return launch_ungroup<float, Out>(u, stream);
    if (u.x_type != u.y_type) return static_cast<int>(cudaErrorInvalidValue);
    return launch_ungroup<Out, Out>(u, stream);
  });
}

}  // namespace tessera::cuda
