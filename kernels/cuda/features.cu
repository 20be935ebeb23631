#include "kernels/cuda/kernels.cuh"

namespace tessera::cuda {
namespace {

constexpr float kFeatureEps = 1e-6f;

/// A block of threads for each place: first the norm of the whole token, then each warp some heads.
template <typename In, typename Out, int kWidth>
__global__ void __launch_bounds__(kMostThreads) features_kernel(const Features f) {
  const int32_t D = f.head_dim, C = f.heads * D;
  const int32_t places = f.grouped ? volume(f.cut.size) : 1;
  const int64_t rows = f.grouped ? int64_t{volume(f.cut.blocks)} * places : f.tokens;  // of a sample
  const int64_t sample = blockIdx.x / rows, row = blockIdx.x % rows;
  const auto block = static_cast<int32_t>(row / places), place = static_cast<int32_t>(row % places);
  const int64_t token = f.grouped ? token_at(f.cut, block, place) : row;
  const auto* x = static_cast<const In*>(f.x) + (sample * f.tokens + token) * C;

  float scale = 1;
  if (token >= 0 && f.weight) {  // the same for all threads
    float squares = 0;
    for (int32_t c = static_cast<int32_t>(threadIdx.x) * kWidth; c < C;
         c += static_cast<int32_t>(blockDim.x) * kWidth) {
      float v[kWidth];
      load(x + c, v);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) squares += v[i] * v[i];
    }
    scale = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(C) + f.eps);
  }
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarp), warps = static_cast<int32_t>(blockDim.x / kWarp);
  for (auto h = static_cast<int32_t>(threadIdx.x / kWarp); h < f.heads; h += warps) {
    const int64_t to = f.grouped ? (((block * f.batch + sample) * f.heads + h) * places + place) * D
                                 : (sample * f.tokens + token) * C + int64_t{h} * D;
    for (int32_t d = lane * kWidth; d < D; d += kWarp * kWidth) {
      float v[kWidth] = {};
      if (token >= 0) {
        float gain[kWidth];
        load(x + h * D + d, v);
        if (f.weight) load(f.weight + h * D + d, gain);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          if (f.weight) v[i] = v[i] * scale * gain[i];
          if (f.features) v[i] = (v[i] < 0.0f ? 0.0f : v[i]) + kFeatureEps;  // a NaN stays one
        }
      }
      if (f.unrotated) store(v, f.unrotated + to + d);
      if constexpr (kWidth > 1)
        if (token >= 0 && f.cosines) {
          float cosines[kWidth], sines[kWidth];
          load(f.cosines + token * D + d, cosines);
          load(f.sines + token * D + d, sines);
#pragma unroll
          for (int i = 0; i < kWidth; i += 2) {
            const float first = v[i], second = v[i + 1];
            v[i] = first * cosines[i] + second * sines[i];
            v[i + 1] = second * cosines[i + 1] + first * sines[i + 1];
          }
        }
      store(v, static_cast<Out*>(f.y) + to + d);
    }
  }
}

template <typename In, typename Out>
int launch_features(const Features& f, void* stream) {
  const int64_t places = int64_t{f.cut.size[0]} * f.cut.size[1] * f.cut.size[2];
  const int64_t blocks = int64_t{f.cut.blocks[0]} * f.cut.blocks[1] * f.cut.blocks[2];
  const int64_t rows = f.batch * (f.grouped ? blocks * places : f.tokens);
  const bool vectors = aligned(f.x, f.weight, f.cosines, f.sines, f.y, f.unrotated);
  return with_width(vectors, f.head_dim, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    const int64_t work = int64_t{f.heads} * f.head_dim / kWidth;
    return launch(&features_kernel<In, Out, kWidth>, rows, threads_for(work), stream, f);
  });
}

}  // namespace

int features(const Features& f, void* stream) {
  if (f.cosines && f.head_dim % 2 != 0) return static_cast<int>(cudaErrorInvalidValue);
  return with_value(f.x_type, [&](auto x) {
    using In = decltype(x);
    if (f.y_type == Value::kFloat) return launch_features<In, float>(f, stream);
    if (f.y_type != f.x_type) return static_cast<int>(cudaErrorInvalidValue);
    return launch_features<In, In>(f, stream);
  });
}

}  // namespace tessera::cuda
