#include <png.h>

#include <cstring>
#include <new>
#include <vector>

#include "media/picture_decoders.h"

namespace tessera::pictures {
namespace {

/// libpng's error callback must not return. The exception unwinds its C frames, whose memory png_destroy_read_struct
/// frees.
struct PngFailure {
  std::string reason;
};

[[noreturn]] void on_error(png_structp, png_const_charp text) {
  throw PngFailure{text};
}
void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep to, size_t count) {
  auto& left = *static_cast<std::string_view*>(png_get_io_ptr(png));
  if (left.size() < count) throw PngFailure{"it is cut short"};
  std::memcpy(to, left.data(), count);
  left.remove_prefix(count);
}

struct PngDecoder {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  PngDecoder() {
    if (!info) throw std::bad_alloc();
  }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;
  ~PngDecoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

/// The format of the rows that libpng hands over, and their conversion to RGB.
struct RowFormat {
  int channels, bits;
  bool gray;

  void convert(const uint8_t* row, int64_t width, uint8_t* to) const {
    const int64_t bytes = bits / 8, pixel = channels * bytes;
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* from = row + x * pixel;
      if (!gray) {
        for (int64_t c = 0; c < 3; ++c) to[3 * x + c] = from[c * bytes];
        continue;
      }
      // Pillow clips 16-bit gray to 255; with alpha it takes the high byte, as for colors.
      const bool cut = bits == 16 && channels == 1;
      const uint8_t value = cut && from[0] > 0 ? 255 : from[cut ? 1 : 0];
      std::memset(to + 3 * x, value, 3);
    }
  }
};

}  // namespace

at::Tensor decode_png(std::string_view bytes, const std::filesystem::path& path) {
  try {
    const PngDecoder decoder;
    png_structp png = decoder.png;
    png_infop info = decoder.info;
    png_set_read_fn(png, &bytes, read_bytes);
    // Chunks that are not needed here may be damaged.
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
    png_read_info(png, info);
    // As in Pillow, the checksum of pixel data does not count: zlib's own checksum tells whether they are whole.
    png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_WARN_DISCARD);
    const int64_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    const at::Tensor picture = make_picture(height, width, path);
    const int color = png_get_color_type(png, info);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (color == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) < 8) png_set_expand_gray_1_2_4_to_8(png);
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    const RowFormat format{.channels = png_get_channels(png, info),
                           .bits = png_get_bit_depth(png, info),
                           .gray = (color & PNG_COLOR_MASK_COLOR) == 0};
    const size_t row_bytes = png_get_rowbytes(png, info);
    std::vector<uint8_t> rows(row_bytes * static_cast<size_t>(passes > 1 ? height : 1));
    for (int pass = 0; pass < passes; ++pass)
      for (int64_t y = 0; y < height; ++y) {
        uint8_t* row = rows.data() + (passes > 1 ? static_cast<size_t>(y) * row_bytes : 0);
        png_read_row(png, row, nullptr);
        if (pass + 1 == passes) format.convert(row, width, picture.data_ptr<uint8_t>() + y * width * 3);
      }
    return picture;
  } catch (const PngFailure& failure) {
    fail(path, "PNG", failure.reason);
  }
}

}  // namespace tessera::pictures
