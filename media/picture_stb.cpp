#include <stb/stb_image.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "media/picture_decoders.h"

namespace tessera::pictures {
namespace {

/// The bytes that stb_image has not read yet. It silently reads zeros beyond the end, so `overrun` records that.
struct Source {
  std::string_view left;
  bool overrun = false;

  static int read(void* source, char* to, int size) {
    constexpr int kRefill =
        128;  // stb's buffer, whose refill may reach past the end; any other read needs all its bytes
    auto& self = *static_cast<Source*>(source);
    const size_t count = std::min(self.left.size(), static_cast<size_t>(size));
    std::memcpy(to, self.left.data(), count);
    self.left.remove_prefix(count);
    if (count == 0 || (count < static_cast<size_t>(size) && size != kRefill)) self.overrun = true;
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

}  // namespace tessera::pictures
