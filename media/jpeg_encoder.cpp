#include <cstdio>
#include <cstdlib>
#include <memory>

// The headers of libjpeg need <cstdio> before them.
#include <jpeglib.h>

#include "core/error.h"
#include "media/image_io.h"
#include "media/jpeg_text.h"

namespace tessera {
namespace {

/// libjpeg's error callback must not return. The exception unwinds its C frames, whose memory jpeg_destroy_compress
/// frees.
[[noreturn]] void on_error(j_common_ptr info) {
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  throw Error(std::string("a JPEG cannot be encoded: ") + text, ExitCode::kFailed);
}

struct Encoder {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  unsigned char* bytes = nullptr;
  unsigned long size = 0;

  Encoder() {
    info.err = jpeg_std_error(&errors);
    errors.error_exit = on_error;
    jpeg_create_compress(&info);
  }
  ~Encoder() {
    jpeg_destroy_compress(&info);
    std::free(bytes);
  }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
};

}  // namespace

std::string encode_jpeg(const at::Tensor& pixels, const ImageText& text) {
  const at::Tensor rows = to_bytes(pixels);
  check_picture_size("x.jpg", rows.size(1), rows.size(0));
  Encoder encoder;
  jpeg_compress_struct& info = encoder.info;
  jpeg_mem_dest(&info, &encoder.bytes, &encoder.size);
  info.image_height = static_cast<JDIMENSION>(rows.size(0));
  info.image_width = static_cast<JDIMENSION>(rows.size(1));
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, kJpegQuality, TRUE);
  info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = 1;  // chroma at full size
  info.optimize_coding = TRUE;
  jpeg_start_compress(&info, TRUE);
  for (const JpegSegment& segment : jpeg_text_segments(text))
    jpeg_write_marker(&info, segment.marker, reinterpret_cast<const JOCTET*>(segment.body.data()),
                      static_cast<unsigned int>(segment.body.size()));
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = rows.data_ptr<uint8_t>() + static_cast<int64_t>(info.next_scanline) * rows.size(1) * 3;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  return {reinterpret_cast<const char*>(encoder.bytes), encoder.size};
}

}  // namespace tessera
