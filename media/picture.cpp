#include "media/picture.h"

#include <ATen/ops/empty.h>

#include <fstream>

#include "core/error.h"

namespace tessera {
namespace pictures {

void fail(const std::filesystem::path& path, const std::string& format, const std::string& reason) {
  throw Error(path.string() + " is no readable " + format + ": " + reason + "; check the file");
}

at::Tensor make_picture(int64_t height, int64_t width, const std::filesystem::path& path) {
  constexpr int64_t kMostPixels = 357913940;  // where Pillow refuses a "decompression bomb"
  if (height < 1 || width < 1 || height > kMostPixels / width)
    fail(path, "picture", "its size is " + std::to_string(width) + "x" + std::to_string(height));
  return at::empty({height, width, 3}, at::kByte);
}

}  // namespace pictures

at::Tensor decode_picture(std::string_view bytes, const std::filesystem::path& path) {
  if (bytes.empty()) pictures::fail(path, "picture", "the file is empty");
  if (bytes.starts_with("\xff\xd8\xff")) return pictures::decode_jpeg(bytes, path);
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return pictures::decode_png(bytes, path);
  if (bytes.starts_with("RIFF") && bytes.substr(0, 16).substr(8).starts_with("WEBP"))
    return pictures::decode_webp(bytes, path);
  return pictures::decode_with_libav(bytes, path);
}

at::Tensor read_picture(const std::filesystem::path& path) {
  std::error_code problem;
  const uintmax_t size = std::filesystem::file_size(path, problem);
  std::ifstream in(path, std::ios::binary);
  if (problem || !in) throw Error("cannot read " + path.string() + ": no such file or no permission; check the path");
  std::string bytes(size, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return decode_picture(bytes, path);
}

}  // namespace tessera
