#include <stb/stb_image.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "media/picture_decoders.h"

namespace tessera::pictures {
namespace {

/// The bytes that stb_image has not read yet. It silently reads zeros beyond the end, so `overrun` records that.
struct Source {
  std::string_view left;
  const char* refilled = nullptr;  ///< stb's buffer, which the first read fills
  bool overrun = false;

  static int read(void* source, char* to, int size) {
    auto& self = *static_cast<Source*>(source);
    if (!self.refilled) self.refilled = to;
    const size_t count = std::min(self.left.size(), static_cast<size_t>(size));
    std::memcpy(to, self.left.data(), count);
    self.left.remove_prefix(count);
    // A refill of the buffer may reach past the end; what is read straight into pixels needs all its bytes.
    if (count == 0 || (count < static_cast<size_t>(size) && to != self.refilled)) self.overrun = true;
    return static_cast<int>(count);
  }
  static void skip(void* source, int size) {
    auto& self = *static_cast<Source*>(source);
    if (static_cast<size_t>(size) > self.left.size()) self.overrun = true;
    self.left.remove_prefix(std::min(self.left.size(), static_cast<size_t>(size)));
  }
  static int at_end(void* source) { return static_cast<Source*>(source)->left.empty(); }
};

}  // namespace

at::Tensor decode_with_stb(std::string_view bytes, const std::filesystem::path& path) {
  int width = 0, height = 0, channels = 0;
  if (!stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), byte_count(bytes, path), &width, &height,
                             &channels))
    fail(path, "picture", "it is damaged or none of " + format_names());
  const at::Tensor picture = make_picture(height, width, path);
  const stbi_io_callbacks callbacks = {.read = Source::read, .skip = Source::skip, .eof = Source::at_end};
  Source source{.left = bytes};
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_callbacks(&callbacks, &source, &width, &height, &channels, 3), stbi_image_free);
  if (!pixels) fail(path, "picture", stbi_failure_reason());
  if (source.overrun) fail(path, "picture", "it is cut short");
  TORCH_CHECK(picture.size(0) == height && picture.size(1) == width, "stb_image reports two sizes for ", path.string());
  std::memcpy(picture.data_ptr<uint8_t>(), pixels.get(), static_cast<size_t>(picture.numel()));
  return picture;
}

at::Tensor decode_tga(std::string_view bytes, const std::filesystem::path& path) {
  const at::Tensor picture = decode_with_stb(bytes, path);
  constexpr size_t kDescriptor = 17;
  constexpr char kRightToLeft = 0x10;  // stb_image does not look at it
  if (!(bytes[kDescriptor] & kRightToLeft)) return picture;
  const int64_t width = picture.size(1);
  for (int64_t y = 0; y < picture.size(0); ++y) {
    auto* row = reinterpret_cast<std::array<uint8_t, 3>*>(picture.data_ptr<uint8_t>() + y * width * 3);
    std::reverse(row, row + width);
  }
  return picture;
}

}  // namespace tessera::pictures
