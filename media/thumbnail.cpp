#include "media/thumbnail.h"

#include <stb/stb_image_write.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "media/image_io.h"

namespace tessera {
namespace {

constexpr int64_t kSmallestSide = 16;

void append(void* out, void* data, int size) {
  static_cast<std::string*>(out)->append(static_cast<const char*>(data), static_cast<size_t>(size));
}

/// bytes: [H, W, 3] uint8. Returns [h, w, 3] uint8 with no side above `side`.
at::Tensor shrunk(const at::Tensor& bytes, int64_t side) {
  const int64_t height = bytes.size(0), width = bytes.size(1), longest = std::max(height, width);
  if (longest <= side) return bytes;
  const auto scaled = [&](int64_t length) {
    const double exact = static_cast<double>(length) * static_cast<double>(side) / static_cast<double>(longest);
    return std::max<int64_t>(1, std::llround(exact));
  };
  const at::Tensor planes = bytes.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);  // [1, 3, H, W]
  const at::Tensor small = at::_upsample_bilinear2d_aa(planes, {scaled(height), scaled(width)}, false);
  return small.squeeze(0).permute({1, 2, 0}).round().clamp(0, 255).to(at::kByte).contiguous();
}

std::string encode_jpeg(const at::Tensor& bytes, int quality) {
  std::string jpeg;
  const int done = stbi_write_jpg_to_func(append, &jpeg, static_cast<int>(bytes.size(1)),
                                          static_cast<int>(bytes.size(0)), 3, bytes.const_data_ptr<uint8_t>(), quality);
  if (!done) throw Error("out of memory while encoding a JPEG", ExitCode::kFailed);
  return jpeg;
}

}  // namespace

std::string encode_thumbnail(const at::Tensor& pixels, int64_t most_side, size_t most_bytes) {
  const at::Tensor bytes = to_bytes(pixels);
  for (int64_t side = most_side; side >= kSmallestSide; side /= 2) {
    const at::Tensor small = shrunk(bytes, side);
    for (const int quality : {84, 68, 50}) {
      std::string jpeg = encode_jpeg(small, quality);
      if (jpeg.size() <= most_bytes) return jpeg;
    }
  }
  return "";
}

}  // namespace tessera
