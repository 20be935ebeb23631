#include <cstdio>
#include <cstring>
#include <vector>

// The headers of libjpeg need <cstdio> before them.
#include <jerror.h>
#include <jpeglib.h>

#include "media/picture_decoders.h"
#include "media/picture_pixels.h"

namespace tessera::pictures {
namespace {

/// libjpeg reports errors through callbacks that must not return. The exception unwinds its C frames, whose memory
/// jpeg_destroy_decompress frees.
struct JpegFailure {
  std::string reason;
};

[[noreturn]] void on_error(j_common_ptr info) {
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  throw JpegFailure{text};
}

void on_message(j_common_ptr info, int level) {
  // As in Pillow, only truncated data are an error; other damage is decoded as far as it goes.
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) throw JpegFailure{"it is cut short"};
}

struct JpegDecoder {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};

  JpegDecoder() {
    info.err = jpeg_std_error(&errors);
    errors.error_exit = on_error;
    errors.emit_message = on_message;
    jpeg_create_decompress(&info);
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&info); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
};

// Stored inverted, as Adobe's programs write them; Pillow assumes this of every four-channel JPEG.
void from_inverted_cmyk(const uint8_t* row, int64_t width, uint8_t* to) {
  for (int64_t x = 0; x < width; ++x, row += 4, to += 3) {
    uint8_t ink[4];
    for (int c = 0; c < 4; ++c) ink[c] = static_cast<uint8_t>(255 - row[c]);
    cmyk_to_rgb(ink, to);
  }
}

}  // namespace

at::Tensor decode_jpeg(std::string_view bytes, const std::filesystem::path& path) {
  try {
    JpegDecoder decoder;
    jpeg_decompress_struct& info = decoder.info;
    jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_read_header(&info, TRUE);
    if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4)
      throw JpegFailure{"it has " + std::to_string(info.num_components) + " channels"};
    info.out_color_space = info.num_components == 4 ? JCS_CMYK : JCS_RGB;
    const at::Tensor picture = make_picture(info.image_height, info.image_width, path);
    jpeg_start_decompress(&info);
    const int64_t width = info.output_width;
    std::vector<uint8_t> four(info.num_components == 4 ? static_cast<size_t>(4 * width) : 0);
    while (info.output_scanline < info.output_height) {
      uint8_t* to = picture.data_ptr<uint8_t>() + static_cast<int64_t>(info.output_scanline) * width * 3;
      JSAMPROW row = four.empty() ? to : four.data();
      jpeg_read_scanlines(&info, &row, 1);
      if (!four.empty()) from_inverted_cmyk(four.data(), width, to);
    }
    return picture;
  } catch (const JpegFailure& failure) {
    fail(path, "JPEG", failure.reason);
  }
}

}  // namespace tessera::pictures
