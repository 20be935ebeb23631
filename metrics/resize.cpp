#include "metrics/resize.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace tessera {
namespace {

/// Where one output coordinate reads: two neighbors and the part of the second.
struct Neighbors {
  int64_t low, high;
  float part;
};

using Locate = float (*)(int64_t target, float scale);

std::vector<Neighbors> neighbors(int64_t in, int64_t out, Locate locate) {
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  std::vector<Neighbors> all;
  for (int64_t target = 0; target < out; ++target) {
    const float source = locate(target, scale);
    const int64_t low = std::min(static_cast<int64_t>(source), in - 1);
    all.push_back({low, std::min(low + 1, in - 1), source - static_cast<float>(low)});
  }
  return all;
}

void check(const at::Tensor& picture) {
  TORCH_CHECK(picture.dim() == 3 && picture.size(2) == 3 && picture.scalar_type() == at::kByte && picture.numel() > 0,
              "resize: want [H, W, 3] uint8, got ", picture.sizes(), " ", picture.scalar_type());
}

at::Tensor bilinear(const at::Tensor& picture, int64_t side, Locate locate) {
  check(picture);
  const at::Tensor rows = picture.contiguous();
  const uint8_t* pixels = rows.const_data_ptr<uint8_t>();
  const int64_t width = rows.size(1);
  const std::vector<Neighbors> across = neighbors(width, side, locate);
  const std::vector<Neighbors> down = neighbors(rows.size(0), side, locate);
  at::Tensor out = at::empty({3, side, side}, at::kFloat);
  float* planes = out.data_ptr<float>();
  for (int64_t y = 0; y < side; ++y) {
    const Neighbors& v = down[static_cast<size_t>(y)];
    const uint8_t* upper = pixels + v.low * width * 3;
    const uint8_t* lower = pixels + v.high * width * 3;
    for (int64_t x = 0; x < side; ++x) {
      const Neighbors& h = across[static_cast<size_t>(x)];
      for (int64_t c = 0; c < 3; ++c) {
        const float a = upper[3 * h.low + c], b = upper[3 * h.high + c];
        const float d = lower[3 * h.low + c], e = lower[3 * h.high + c];
        const float top = a + (b - a) * h.part, bottom = d + (e - d) * h.part;
        planes[(c * side + y) * side + x] = top + (bottom - top) * v.part;
      }
    }
  }
  return out;
}

/// Keys' cubic with a = -0.5, which Pillow uses.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/// The source values that make one output value, and their weights (sum 1).
struct Window {
  int64_t first;
  std::vector<double> weights;
};

std::vector<Window> windows(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), widening = std::max(scale, 1.0);
  const double support = 2 * widening;
  std::vector<Window> all;
  for (int64_t target = 0; target < out; ++target) {
    const double center = (static_cast<double>(target) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), in);
    Window window{first, {}};
    double sum = 0;
    for (int64_t i = first; i < end; ++i) {
      window.weights.push_back(cubic((static_cast<double>(i) - center + 0.5) / widening));
      sum += window.weights.back();
    }
    for (double& weight : window.weights) weight /= sum;
    all.push_back(std::move(window));
  }
  return all;
}

}  // namespace

at::Tensor resize_bilinear_torch(const at::Tensor& picture, int64_t side) {
  return bilinear(picture, side, [](int64_t target, float scale) {
    return std::max(scale * (static_cast<float>(target) + 0.5f) - 0.5f, 0.0f);
  });
}

at::Tensor resize_bilinear_tensorflow(const at::Tensor& picture, int64_t side) {
  return bilinear(picture, side, [](int64_t target, float scale) { return static_cast<float>(target) * scale; });
}

at::Tensor resize_bicubic_antialiased(const at::Tensor& picture, int64_t side) {
  check(picture);
  const at::Tensor rows = picture.contiguous();
  const int64_t height = rows.size(0), width = rows.size(1);
  const std::vector<Window> across = windows(width, side), down = windows(height, side);
  std::vector<float> narrow(static_cast<size_t>(height * side * 3));  // [height, side, 3]
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* row = rows.const_data_ptr<uint8_t>() + y * width * 3;
    for (int64_t x = 0; x < side; ++x) {
      const Window& window = across[static_cast<size_t>(x)];
      double sums[3] = {0, 0, 0};
      for (size_t i = 0; i < window.weights.size(); ++i)
        for (size_t c = 0; c < 3; ++c)
          sums[c] += window.weights[i] * row[(window.first + static_cast<int64_t>(i)) * 3 + static_cast<int64_t>(c)];
      for (size_t c = 0; c < 3; ++c) narrow[static_cast<size_t>((y * side + x) * 3) + c] = static_cast<float>(sums[c]);
    }
  }
  at::Tensor out = at::empty({3, side, side}, at::kFloat);
  float* planes = out.data_ptr<float>();
  const int64_t values = side * 3;
  std::vector<double> sums(static_cast<size_t>(values));
  for (int64_t y = 0; y < side; ++y) {
    const Window& window = down[static_cast<size_t>(y)];
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t i = 0; i < window.weights.size(); ++i) {
      const float* row = narrow.data() + (window.first + static_cast<int64_t>(i)) * values;
      for (int64_t v = 0; v < values; ++v) sums[static_cast<size_t>(v)] += window.weights[i] * row[v];
    }
    for (int64_t v = 0; v < values; ++v)
      planes[((v % 3) * side + y) * side + v / 3] =
          std::clamp(static_cast<float>(sums[static_cast<size_t>(v)]), 0.0f, 255.0f);
  }
  return out;
}

}  // namespace tessera
