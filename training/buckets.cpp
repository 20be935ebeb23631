#include "training/buckets.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace tessera {

std::vector<FrameSize> bucket_sizes(const FrameSize& size, int64_t step) {
  TORCH_CHECK(size.width > 0 && size.height > 0 && step > 0, "bucket_sizes: bad size ", size.width, "x", size.height,
              " or step ", step);
  constexpr int64_t kWidest = 4;
  const int64_t area = size.width * size.height;
  std::vector<FrameSize> buckets = {size};
  if (size.width != size.height) buckets.push_back({size.height, size.width});
  for (int64_t width = step; width * step <= area; width += step) {
    const FrameSize one{width, area / width / step * step};
    const bool extreme = one.width > kWidest * one.height || one.height > kWidest * one.width;
    if (!extreme && std::find(buckets.begin(), buckets.end(), one) == buckets.end()) buckets.push_back(one);
  }
  std::sort(buckets.begin(), buckets.end(), [](const FrameSize& a, const FrameSize& b) {
    return a.width != b.width ? a.width < b.width : a.height < b.height;
  });
  return buckets;
}

FrameSize nearest_bucket(const std::vector<FrameSize>& buckets, const FrameSize& source) {
  const auto ratio = [](const FrameSize& size) {
    return std::log(static_cast<double>(size.width) / static_cast<double>(size.height));
  };
  const auto distance = [&](const FrameSize& size) { return std::abs(ratio(size) - ratio(source)); };
  constexpr double kEqual = 1e-9;
  return *std::min_element(buckets.begin(), buckets.end(), [&](const FrameSize& a, const FrameSize& b) {
    const double difference = distance(a) - distance(b);
    return std::abs(difference) > kEqual ? difference < 0 : a.width * a.height > b.width * b.height;
  });
}

at::Tensor fit_frame(const at::Tensor& frame, const FrameSize& size) {
  TORCH_CHECK(frame.dim() == 3 && frame.size(2) == 3, "fit_frame: want [H, W, 3], got ", frame.sizes());
  const int64_t height = frame.size(0), width = frame.size(1);
  const double scale = std::max(static_cast<double>(size.width) / static_cast<double>(width),
                                static_cast<double>(size.height) / static_cast<double>(height));
  const auto scaled = [&](int64_t side, int64_t least) {
    return std::max<int64_t>(least, std::lround(static_cast<double>(side) * scale));
  };
  const int64_t tall = scaled(height, size.height), wide = scaled(width, size.width);
  at::Tensor pixels = frame.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);  // [1, 3, H, W]
  if (tall != height || wide != width)
    pixels = at::_upsample_bicubic2d_aa(pixels, {tall, wide}, /*align_corners=*/false).clamp_(0, 255);
  return pixels[0]
                 .narrow(1, (tall - size.height) / 2, size.height)
                 .narrow(2, (wide - size.width) / 2, size.width)
                 .contiguous() /
             127.5 -
         1;
}

std::vector<int64_t> resampled_frames(int64_t count, const FrameRate& given, const FrameRate& wanted) {
  const int64_t up = given.numerator * wanted.denominator, down = given.denominator * wanted.numerator;
  TORCH_CHECK(up > 0 && down > 0, "resampled_frames: rates must be positive");
  std::vector<int64_t> frames;
  for (int64_t j = 0; j * up / down < count; ++j) frames.push_back(j * up / down);
  return frames;
}

std::vector<int64_t> clip_lengths(int64_t count, int64_t frames, int64_t least, int64_t stride) {
  std::vector<int64_t> lengths(static_cast<size_t>(count / frames), frames);
  const int64_t left = count % frames;
  const int64_t last = left > 0 ? 1 + (left - 1) / stride * stride : 0;
  if (last >= least && last > 0) lengths.push_back(last);
  return lengths;
}

}  // namespace tessera
