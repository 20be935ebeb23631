#include "kernels/group_norm.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/parallel_for.h"
#include "kernels/simd.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

using namespace simd;

constexpr int64_t kRowsOfTask = 256;

/// The sum over rows of each channel, and of its squares: sums [2, channels].
TESSERA_INLINE void add_moments(const Bfloat16Bits* x, int64_t rows, int64_t channels, float* sums) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t left = channels - c;
    Floats sum{}, squares{};
    for (int64_t row = 0; row < rows; ++row) {
      const Floats v = load(x + row * channels + c, left);
      sum += v;
      squares += v * v;
    }
    store(sum, sums + c, left);
    store(squares, sums + channels + c, left);
  }
}

/// y = x * gain + shift, then SiLU.
template <bool kSilu>
TESSERA_INLINE void scale_rows(const Bfloat16Bits* x, int64_t rows, int64_t channels, const float* gain,
                               const float* shift, Bfloat16Bits* y) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int64_t left = channels - c, at = row * channels + c;
      Floats v = load(x + at, left) * load(gain + c, left) + load(shift + c, left);
      if constexpr (kSilu) v = v * sigmoid(v);
      store(v, y + at, left);
    }
}

#define TESSERA_VARIANT(name, attribute)                                                                        \
  attribute void moments_##name(const Bfloat16Bits* x, int64_t rows, int64_t channels, float* sums) {           \
    add_moments(x, rows, channels, sums);                                                                       \
  }                                                                                                             \
  attribute void scale_##name(bool silu, const Bfloat16Bits* x, int64_t rows, int64_t channels, const float* g, \
                              const float* shift, Bfloat16Bits* y) {                                            \
    if (silu)                                                                                                   \
      scale_rows<true>(x, rows, channels, g, shift, y);                                                         \
    else                                                                                                        \
      scale_rows<false>(x, rows, channels, g, shift, y);                                                        \
  }
TESSERA_EACH_VARIANT(TESSERA_VARIANT)

void moments(const Bfloat16Bits* x, int64_t rows, int64_t channels, float* sums) {
  TESSERA_DISPATCH(moments, x, rows, channels, sums);
}

void scale(bool silu, const Bfloat16Bits* x, int64_t rows, int64_t channels, const float* gain, const float* shift,
           Bfloat16Bits* y) {
  TESSERA_DISPATCH(scale, silu, x, rows, channels, gain, shift, y);
}

/// What each channel of one sample is multiplied with and what is added, from the moments [tasks, 2, C] of its rows.
void gains_of(const float* parts, int64_t tasks, double rows, int64_t groups, double eps, const at::Tensor& weight,
              const at::Tensor& bias, float* gains) {
  const int64_t channels = weight.numel(), width = channels / groups;
  for (int64_t group = 0; group < groups; ++group) {
    double sum = 0, squares = 0;
    for (int64_t task = 0; task < tasks; ++task)
      for (int64_t c = group * width; c < (group + 1) * width; ++c) {
        sum += parts[task * 2 * channels + c];
        squares += parts[(task * 2 + 1) * channels + c];
      }
    const double count = rows * static_cast<double>(width), mean = sum / count;
    const double scale = 1 / std::sqrt(std::max(squares / count - mean * mean, 0.0) + eps);
    for (int64_t c = group * width; c < (group + 1) * width; ++c) {
      const double gain = scale * weight.const_data_ptr<float>()[c];
      gains[c] = static_cast<float>(gain);
      gains[channels + c] = static_cast<float>(bias.const_data_ptr<float>()[c] - mean * gain);
    }
  }
}

}  // namespace

bool has_group_norm(const at::Tensor& x, const at::Tensor& weight) {
  return can_vectorize(x) && x.scalar_type() == at::kBFloat16 && !needs_gradient(x) && !needs_gradient(weight);
}

at::Tensor group_norm_rows(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                           double eps, bool silu) {
  TORCH_CHECK(x.dim() == 3 && x.scalar_type() == at::kBFloat16 && x.size(2) % groups == 0 &&
                  weight.numel() == x.size(2) && bias.numel() == x.size(2),
              "group_norm_rows: want bfloat16 [B, N, C] with C a multiple of ", groups, ", got ", x.sizes());
  const at::Tensor dense = x.contiguous(), y = at::empty_like(dense);
  const at::Tensor w = weight.to(at::kFloat).contiguous(), b = bias.to(at::kFloat).contiguous();
  const int64_t batch = x.size(0), rows = x.size(1), channels = x.size(2);
  const int64_t tasks = (rows + kRowsOfTask - 1) / kRowsOfTask;
  std::vector<float> parts(static_cast<size_t>(batch * tasks * 2 * channels)), gains(static_cast<size_t>(2 * channels));
  const auto each_task = [&](int64_t begin, int64_t end, const auto& work) {  // work(task, offset of its rows, rows)
    parallel_for(begin, end, 1, [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; ++task) {
        const int64_t first = task % tasks * kRowsOfTask;
        work(task, (task / tasks * rows + first) * channels, std::min(kRowsOfTask, rows - first));
      }
    });
  };
  const auto* from = values_of<Bfloat16Bits>(dense);
  auto* to = mutable_values_of<Bfloat16Bits>(y);
  each_task(0, batch * tasks, [&](int64_t task, int64_t at, int64_t count) {
    moments(from + at, count, channels, parts.data() + task * 2 * channels);
  });
  for (int64_t sample = 0; sample < batch; ++sample) {
    gains_of(parts.data() + sample * tasks * 2 * channels, tasks, static_cast<double>(rows), groups, eps, w, b,
             gains.data());
    each_task(sample * tasks, (sample + 1) * tasks, [&](int64_t, int64_t at, int64_t count) {
      scale(silu, from + at, count, channels, gains.data(), gains.data() + channels, to + at);
    });
  }
  return y;
}

}  // namespace tessera
