#include "media/image_io.h"

#include <stb/stb_image.h>
#include <stb/stb_image_write.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "core/atomic_file.h"
#include "core/error.h"

namespace tessera {
namespace {

void append(void* out, void* data, int size) {
  static_cast<std::string*>(out)->append(static_cast<const char*>(data), static_cast<size_t>(size));
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  if (in) bytes << in.rdbuf();
  if (!in || std::filesystem::is_directory(path))
    throw Error("cannot read " + path.string() + ": no such file or no permission; check the path");
  return bytes.str();
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
    throw Error("the frame has NaN or infinite pixels, so the model's output is broken; try --dtype float32",
                ExitCode::kBadPixels);
  return values.clamp(0, 1).mul(255).round().to(at::kByte).contiguous();
}

std::string encode_png(const at::Tensor& pixels, const ImageText& text) {
  const at::Tensor bytes = to_bytes(pixels);
  TORCH_CHECK(bytes.numel() < (int64_t{1} << 30), "pixels: ", bytes.sizes(), " is more than a PNG is encoded from");
  const int height = static_cast<int>(bytes.size(0)), width = static_cast<int>(bytes.size(1));
  std::string png;
  const int done = stbi_write_png_to_func(append, &png, width, height, 3, bytes.const_data_ptr<uint8_t>(), width * 3);
  if (!done)
    throw Error("no memory to encode a PNG of " + std::to_string(width) + "x" + std::to_string(height),
                ExitCode::kFailed);
  return insert_png_text(png, text);
}

void write_png(const std::filesystem::path& path, const at::Tensor& pixels, const ImageText& text) {
  write_file_atomically(path, encode_png(pixels, text));
}

Image read_image(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  Image image;
  if (is_png(bytes)) image.text = read_png_text(bytes, path.string());
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), static_cast<int>(bytes.size()), &width,
                            &height, &channels, 3),
      stbi_image_free);
  if (!decoded)
    throw Error(path.string() + " is not a readable PNG or JPEG: " + stbi_failure_reason() + "; check the file");
  image.pixels = at::empty({height, width, 3}, at::kByte);
  std::memcpy(image.pixels.data_ptr<uint8_t>(), decoded.get(), static_cast<size_t>(image.pixels.numel()));
  return image;
}

}  // namespace tessera
