#include "media/image_io.h"

#include <stb/stb_image_write.h>

#include <algorithm>

#include "core/atomic_file.h"
#include "core/error.h"
#include "media/file_types.h"

namespace tessera {
namespace {

void append(void* out, void* data, int size) {
  static_cast<std::string*>(out)->append(static_cast<const char*>(data), static_cast<size_t>(size));
}

bool is_jpeg_name(const std::filesystem::path& path) {
  const std::string extension = lower_extension(path);
  return extension == ".jpg" || extension == ".jpeg";
}

}  // namespace

at::Tensor to_bytes(const at::Tensor& pixels) {
  TORCH_CHECK(pixels.dim() == 3 && (pixels.size(0) == 3 || pixels.size(2) == 3),
              "pixels: want [3, H, W] or [H, W, 3], got ", pixels.sizes());
  const bool channels_first = pixels.size(0) == 3 && (pixels.size(2) != 3 || pixels.is_floating_point());
  const at::Tensor rows = channels_first ? pixels.permute({1, 2, 0}) : pixels;  // [H, W, 3]
  TORCH_CHECK(rows.size(0) > 0 && rows.size(1) > 0, "pixels: empty, ", pixels.sizes());
  if (rows.scalar_type() == at::kByte) return rows.to(at::kCPU).contiguous();
  TORCH_CHECK(rows.is_floating_point(), "pixels: want uint8 or floating, got ", rows.scalar_type());
  const at::Tensor values = rows.to(at::kCPU, at::kFloat);
  if (!values.isfinite().all().item<bool>())
    throw Error("the frame has NaN or infinite pixels, so the model's output is broken; try --dtype fp32",
                ExitCode::kBadPixels);
  return values.clamp(0, 1).mul(255).round().to(at::kByte).contiguous();
}

void check_picture_size(const std::filesystem::path& path, int64_t width, int64_t height) {
  TORCH_CHECK(width > 0 && height > 0, "bad picture size ", width, "x", height);
  const std::string size = std::to_string(width) + "x" + std::to_string(height);
  constexpr int64_t kMostBytes = int64_t{1} << 30;  // stb_image_write counts in an int, plus one byte per row
  constexpr int64_t kMostSide = 65500;              // libjpeg's
  if (is_jpeg_name(path) && std::max(width, height) > kMostSide)
    throw Error("a JPEG of " + size + " has a side of more than 65,500 pixels; choose a smaller size, or a .png");
  if (!is_jpeg_name(path) && width > kMostBytes / 3 / height)
    throw Error("a PNG of " + size +
                " has more than a gigabyte of pixels, which is not written; choose a smaller size");
}

std::string encode_png(const at::Tensor& pixels, const ImageText& text) {
  const at::Tensor bytes = to_bytes(pixels);
  check_picture_size("x.png", bytes.size(1), bytes.size(0));
  const int height = static_cast<int>(bytes.size(0)), width = static_cast<int>(bytes.size(1));
  std::string png;
  const int done = stbi_write_png_to_func(append, &png, width, height, 3, bytes.const_data_ptr<uint8_t>(), width * 3);
  if (!done)
    throw Error("out of memory while encoding a PNG of " + std::to_string(width) + "x" + std::to_string(height),
                ExitCode::kFailed);
  return insert_png_text(png, text);
}

void write_picture(const std::filesystem::path& path, const at::Tensor& pixels, const ImageText& text) {
  write_file_atomically(path, is_jpeg_name(path) ? encode_jpeg(pixels, text) : encode_png(pixels, text));
}

void write_png(const std::filesystem::path& path, const at::Tensor& pixels, const ImageText& text) {
  write_file_atomically(path, encode_png(pixels, text));
}

}  // namespace tessera
