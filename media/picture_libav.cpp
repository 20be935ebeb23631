extern "C" {
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "media/libav.h"
#include "media/picture_decoders.h"

namespace tessera::pictures {
namespace {

/// Gray or RGB of at most 16 bits; not YUV, Bayer or floating point.
bool is_read(const AVPixFmtDescriptor& format) {
  constexpr uint64_t kOther = AV_PIX_FMT_FLAG_BAYER | AV_PIX_FMT_FLAG_FLOAT | AV_PIX_FMT_FLAG_HWACCEL;
  const bool gray = format.nb_components <= 2;
  return !(format.flags & kOther) && (gray || format.flags & AV_PIX_FMT_FLAG_RGB) && format.comp[0].depth <= 16;
}

/// A channel of `depth` bits as Pillow converts it to 8: gray without alpha of more than 8 bits is clipped, not scaled.
uint8_t to_8_bits(uint16_t value, int depth, bool lone_gray) {
  if (depth < 8) return static_cast<uint8_t>(value * 255 / ((1 << depth) - 1));
  if (depth > 8 && lone_gray) return static_cast<uint8_t>(std::min<uint16_t>(value, 255));
  return static_cast<uint8_t>(value >> (depth - 8));
}

void convert(const AVFrame& frame, const AVPixFmtDescriptor& format, uint8_t* to) {
  std::array<const uint8_t*, 4> planes = {frame.data[0], frame.data[1], frame.data[2], frame.data[3]};
  const auto width = static_cast<size_t>(frame.width);
  const bool gray = format.nb_components <= 2, lone = format.nb_components == 1;
  const uint8_t flip = frame.format == AV_PIX_FMT_MONOWHITE ? 255 : 0;  // there 0 is white
  std::vector<uint16_t> line(width);
  for (int y = 0; y < frame.height; ++y, to += 3 * width)
    for (size_t c = 0; c < 3; ++c) {
      const int component = gray ? 0 : static_cast<int>(c);
      av_read_image_line2(line.data(), planes.data(), frame.linesize, &format, 0, y, component, frame.width, 0,
                          sizeof line[0]);
      for (size_t x = 0; x < width; ++x) to[3 * x + c] = flip ^ to_8_bits(line[x], format.comp[component].depth, lone);
    }
}

void look_up(const AVFrame& frame, uint8_t* to) {
  const auto* palette = reinterpret_cast<const uint32_t*>(frame.data[1]);  // 0xAARRGGBB
  for (int y = 0; y < frame.height; ++y)
    for (int x = 0; x < frame.width; ++x, to += 3) {
      const uint32_t color = palette[frame.data[0][static_cast<ptrdiff_t>(y) * frame.linesize[0] + x]];
      to[0] = static_cast<uint8_t>(color >> 16);
      to[1] = static_cast<uint8_t>(color >> 8);
      to[2] = static_cast<uint8_t>(color);
    }
}

at::Tensor decode(AVCodecID id, std::string_view bytes, const std::filesystem::path& path) {
  libav::quiet();
  const AVCodec* codec = avcodec_find_decoder(id);
  const std::string name = avcodec_get_name(id);
  if (!codec) fail(path, name, "this FFmpeg has no decoder for it");
  const libav::Codec context(avcodec_alloc_context3(codec));
  const libav::Packet packet(av_packet_alloc());
  const libav::Frame frame(av_frame_alloc());
  TORCH_CHECK(context && packet && frame, "out of memory for a decoder");
  context->thread_count = 1;
  context->err_recognition = AV_EF_EXPLODE;
  const auto check = [&](int result) {
    if (result < 0) fail(path, name, libav::error_text(result));
  };
  check(avcodec_open2(context.get(), codec, nullptr));
  check(av_new_packet(packet.get(), byte_count(bytes, path)));  // padded, as decoders need
  std::memcpy(packet->data, bytes.data(), bytes.size());
  check(avcodec_send_packet(context.get(), packet.get()));
  check(avcodec_send_packet(context.get(), nullptr));
  check(avcodec_receive_frame(context.get(), frame.get()));
  const at::Tensor picture = make_picture(frame->height, frame->width, path);
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame->format));
  if (frame->format == AV_PIX_FMT_PAL8)
    look_up(*frame, picture.data_ptr<uint8_t>());
  else if (format && is_read(*format))
    convert(*frame, *format, picture.data_ptr<uint8_t>());
  else
    fail(path, name, std::string("pixels of format ") + (format ? format->name : "unknown") + " are not supported");
  return picture;
}

}  // namespace

at::Tensor decode_bmp(std::string_view bytes, const std::filesystem::path& path) {
  return decode(AV_CODEC_ID_BMP, bytes, path);
}

at::Tensor decode_ppm(std::string_view bytes, const std::filesystem::path& path) {
  return decode(AV_CODEC_ID_PPM, bytes, path);
}

at::Tensor decode_pgm(std::string_view bytes, const std::filesystem::path& path) {
  return decode(AV_CODEC_ID_PGM, bytes, path);
}

at::Tensor decode_tiff(std::string_view bytes, const std::filesystem::path& path) {
  return decode(AV_CODEC_ID_TIFF, bytes, path);
}

}  // namespace tessera::pictures
