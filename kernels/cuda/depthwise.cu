#include "kernels/cuda/kernels.cuh"

namespace tessera::cuda {
namespace {

constexpr int kStrip = 4;         // neighboring outputs of a thread
constexpr int kWarpsOfBlock = 8;  // each with a strip of its own
constexpr int kThreads = kWarp * kWarpsOfBlock;
constexpr int kFewTaps = 27;  // 3 x 3 x 3

/// A block of threads for the channels of a warp (kWarp * kWidth) and kWarpsOfBlock strips, whose weights it shares.
template <typename T, int kWidth, int kTaps>
__global__ void __launch_bounds__(kThreads, 4) depthwise_kernel(const Depthwise d) {
  constexpr int kChannels = kWarp * kWidth;
  __shared__ float weights[kTaps * kChannels];  // [taps, channels]
  const int32_t C = d.channels, groups = (C + kChannels - 1) / kChannels;
  const int32_t first_channel = static_cast<int32_t>(blockIdx.x) % groups * kChannels;
  const int32_t T_ = d.tokens[0], H = d.tokens[1], W = d.tokens[2];
  const int32_t kt = d.kernel[0], kh = d.kernel[1], kw = d.kernel[2], taps = kt * kh * kw;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < taps * kChannels; i += kThreads) {
    const int32_t channel = first_channel + i / taps;
    weights[i % taps * kChannels + i / taps] = channel < C ? d.weight[int64_t{channel} * taps + i % taps] : 0.0f;
  }
  __syncthreads();

  const int32_t strips = (W + kStrip - 1) / kStrip, lane = static_cast<int32_t>(threadIdx.x % kWarp) * kWidth;
  const int64_t strip = int64_t{blockIdx.x / groups} * kWarpsOfBlock + threadIdx.x / kWarp;
  const int32_t c = first_channel + lane;
  if (strip >= d.batch * T_ * H * strips || c >= C) return;
  const auto w = static_cast<int32_t>(strip % strips) * kStrip, h = static_cast<int32_t>(strip / strips % H);
  const auto t = static_cast<int32_t>(strip / strips / H % T_);
  const int64_t sample = strip / strips / H / T_;

  float sums[kStrip][kWidth] = {};
  for (int32_t a = 0; a < kt; ++a) {
    const int32_t from_t = t + a - kt / 2;
    if (from_t < 0 || from_t >= T_) continue;
    for (int32_t b = 0; b < kh; ++b) {
      const int32_t from_h = h + b - kh / 2;
      if (from_h < 0 || from_h >= H) continue;
      const T* row = static_cast<const T*>(d.x) + ((sample * T_ + from_t) * H + from_h) * W * C + c;
      const float* tap = weights + (a * kh + b) * kw * kChannels + lane;
      for (int32_t e = 0; e < kStrip + kw - 1; ++e) {
        const int32_t from_w = w + e - kw / 2;
        if (from_w < 0 || from_w >= W) continue;
        float v[kWidth];
        load(row + int64_t{from_w} * C, v);
#pragma unroll
        for (int s = 0; s < kStrip; ++s)
          if (e - s >= 0 && e - s < kw) {
#pragma unroll
            for (int i = 0; i < kWidth; ++i) sums[s][i] += v[i] * tap[(e - s) * kChannels + i];
          }
      }
    }
  }
#pragma unroll
  for (int s = 0; s < kStrip; ++s) {
    if (w + s >= W) continue;
    const int64_t at = (((sample * T_ + t) * H + h) * W + w + s) * C + c;
    float more[kWidth];
    if (d.bias) {
      load(d.bias + c, more);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sums[s][i] += more[i];
    }
    if (d.base) {
      load(static_cast<const T*>(d.base) + at, more);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sums[s][i] += more[i];
    }
    store(sums[s], static_cast<T*>(d.y) + at);
  }
}

template <typename T, int kWidth>
int launch_depthwise(const Depthwise& d, void* stream) {
  const int64_t groups = (d.channels + kWarp * kWidth - 1) / (kWarp * kWidth);
  const int64_t strips = d.batch * d.tokens[0] * d.tokens[1] * ((d.tokens[2] + kStrip - 1) / kStrip);
  const int64_t blocks = groups * ((strips + kWarpsOfBlock - 1) / kWarpsOfBlock);
  const bool few = d.kernel[0] * d.kernel[1] * d.kernel[2] <= kFewTaps;
  return launch(few ? &depthwise_kernel<T, kWidth, kFewTaps> : &depthwise_kernel<T, kWidth, kMostTaps>, blocks,
                kThreads, stream, d);
}

}  // namespace

int depthwise(const Depthwise& d, void* stream) {
  if (d.kernel[0] * d.kernel[1] * d.kernel[2] > kMostTaps) return static_cast<int>(cudaErrorInvalidValue);
  return with_value(d.type, [&](auto type) {
    using T = decltype(type);
    return with_width(aligned(d.x, d.base, d.bias, d.y), d.channels,
                      [&](auto width) { return launch_depthwise<T, decltype(width)::value>(d, stream); });
  });
}

}  // namespace tessera::cuda
