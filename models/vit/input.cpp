#include "models/vit/input.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tessera {
namespace {

constexpr double kCropPart = 0.875;  // of the resized picture's shorter side
constexpr float kMean[] = {0.485f, 0.456f, 0.406f}, kDeviation[] = {0.229f, 0.224f, 0.225f};

}  // namespace

at::Tensor classifier_square(const at::Tensor& pixels, int64_t size) {
  const int64_t height = pixels.size(0), width = pixels.size(1), shorter = std::min(height, width);
  const auto wanted = static_cast<int64_t>(std::floor(static_cast<double>(size) / kCropPart));
  const int64_t H = height * wanted / shorter, W = width * wanted / shorter;
  const at::Tensor planes = pixels.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);
  const at::Tensor resized = at::_upsample_bicubic2d_aa(planes, {H, W}, /*align_corners=*/false).round().clamp(0, 255);
  const auto first = [&](int64_t all) { return std::lround(static_cast<double>(all - size) / 2.0); };
  return resized.narrow(2, first(H), size).narrow(3, first(W), size);
}

at::Tensor classifier_normalized(const at::Tensor& images) {
  const auto constants = [&](const float* values) {
    return at::tensor({values[0], values[1], values[2]}).view({3, 1, 1}).to(images.device());
  };
  return (images.to(at::kFloat) / 255.0 - constants(kMean)) / constants(kDeviation);
}

}  // namespace tessera
