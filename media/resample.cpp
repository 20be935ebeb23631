#include "media/resample.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace tessera {
namespace {

constexpr int kFractionBits = 22;  // of weights

double cubic_weight(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

double sinc(double x) {
  return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi);
}

double lanczos_weight(double x) {
  return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

/// The source values that make one output value, and their weights in fixed point.
struct Taps {
  int64_t first;
  std::vector<int64_t> weights;
};

Taps taps_of(int64_t target, int64_t in, int64_t out, ResampleFilter filter) {
  const bool cubic = filter == ResampleFilter::kBicubic;
  const double scale = static_cast<double>(in) / static_cast<double>(out), widening = std::max(scale, 1.0);
  const double reach = (cubic ? 2 : 3) * widening, center = (static_cast<double>(target) + 0.5) * scale;
  const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - reach + 0.5), 0);
  const int64_t end = std::min<int64_t>(static_cast<int64_t>(center + reach + 0.5), in);
  std::vector<double> weights;
  double sum = 0;
  for (int64_t i = first; i < end; ++i) {
    const double x = (static_cast<double>(i) - center + 0.5) * (1.0 / widening);
    weights.push_back(cubic ? cubic_weight(x) : lanczos_weight(x));
    sum += weights.back();
  }
  Taps taps{first, {}};
  for (const double weight : weights) {
    const double fixed = weight / sum * (1 << kFractionBits);
    taps.weights.push_back(static_cast<int64_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
  }
  return taps;
}

/// The first axis of bytes [n, values], contiguous, at another length.
at::Tensor resample_rows(const at::Tensor& rows, int64_t length, ResampleFilter filter) {
  const int64_t n = rows.size(0), values = rows.size(1);
  at::Tensor out = at::empty({length, values}, rows.options());
  const uint8_t* from = rows.const_data_ptr<uint8_t>();
  uint8_t* into = out.data_ptr<uint8_t>();
  std::vector<int64_t> sums(static_cast<size_t>(values));
  for (int64_t target = 0; target < length; ++target) {
    const Taps taps = taps_of(target, n, length, filter);
    std::fill(sums.begin(), sums.end(), int64_t{1} << (kFractionBits - 1));
    for (size_t i = 0; i < taps.weights.size(); ++i) {
      const uint8_t* row = from + (taps.first + static_cast<int64_t>(i)) * values;
      for (int64_t v = 0; v < values; ++v) sums[static_cast<size_t>(v)] += taps.weights[i] * row[v];
    }
    for (int64_t v = 0; v < values; ++v)
      into[target * values + v] =
          static_cast<uint8_t>(std::clamp<int64_t>(sums[static_cast<size_t>(v)] >> kFractionBits, 0, 255));
  }
  return out;
}

at::Tensor resample_height(const at::Tensor& picture, int64_t height, ResampleFilter filter) {
  if (picture.size(0) == height) return picture;
  return resample_rows(picture.contiguous().flatten(1), height, filter).unflatten(1, {-1, 3});
}

at::Tensor resample_width(const at::Tensor& picture, int64_t width, ResampleFilter filter) {
  return resample_height(picture.transpose(0, 1), width, filter).transpose(0, 1);
}

}  // namespace

at::Tensor resample(const at::Tensor& picture, int64_t width, int64_t height, ResampleFilter filter) {
  TORCH_CHECK(picture.dim() == 3 && picture.size(2) == 3 && picture.scalar_type() == at::kByte,
              "resample: want a picture [H, W, 3] of bytes, got ", picture.sizes());
  TORCH_CHECK(width >= 1 && height >= 1, "resample: bad size ", width, "x", height);
  // Bytes are rounded between the passes, so their order matters: Pillow 13's, found by trial over many sizes.
  const int64_t lost_rows = picture.size(0) - height, lost_columns = picture.size(1) - width;
  if (lost_rows > 0 && lost_rows > 2 * lost_columns)
    return resample_width(resample_height(picture, height, filter), width, filter).contiguous();
  return resample_height(resample_width(picture, width, filter), height, filter).contiguous();
}

}  // namespace tessera
