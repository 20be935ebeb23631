extern "C" {
#include <libavutil/pixdesc.h>
}

#include <cstring>

#include "media/libav.h"
#include "media/picture.h"

namespace tessera::pictures {
namespace {

AVCodecID codec_of(std::string_view bytes) {
  using namespace std::string_view_literals;
  if (bytes.starts_with("BM")) return AV_CODEC_ID_BMP;
  if (bytes.starts_with("P6") || bytes.starts_with("P3")) return AV_CODEC_ID_PPM;
  if (bytes.starts_with("P5") || bytes.starts_with("P2")) return AV_CODEC_ID_PGM;
  if (bytes.starts_with("II*\0"sv) || bytes.starts_with("MM\0*"sv)) return AV_CODEC_ID_TIFF;
  return AV_CODEC_ID_NONE;
}

/// Where red, green and blue lie in one pixel; `cut` for 16-bit gray, which Pillow cuts off at 255.
struct Layout {
  int bytes, red, green, blue;
  bool cut = false;
};

bool layout_of(AVPixelFormat format, Layout& layout) {
  switch (format) {
    case AV_PIX_FMT_RGB24:
      layout = {3, 0, 1, 2};
      return true;
    case AV_PIX_FMT_BGR24:
      layout = {3, 2, 1, 0};
      return true;
    case AV_PIX_FMT_RGBA:
      layout = {4, 0, 1, 2};
      return true;
    case AV_PIX_FMT_BGRA:
    case AV_PIX_FMT_BGR0:
      layout = {4, 2, 1, 0};
      return true;
    case AV_PIX_FMT_RGB48LE:
      layout = {6, 1, 3, 5};
      return true;
    case AV_PIX_FMT_RGB48BE:
      layout = {6, 0, 2, 4};
      return true;
    case AV_PIX_FMT_GRAY8:
      layout = {1, 0, 0, 0};
      return true;
    case AV_PIX_FMT_YA8:
      layout = {2, 0, 0, 0};
      return true;
    case AV_PIX_FMT_GRAY16LE:
      layout = {2, 0, 0, 0, true};
      return true;
    default:
      return false;
  }
}

void convert(const AVFrame& frame, const Layout& layout, uint8_t* to) {
  for (int y = 0; y < frame.height; ++y) {
    const uint8_t* row = frame.data[0] + static_cast<ptrdiff_t>(y) * frame.linesize[0];
    for (int x = 0; x < frame.width; ++x, to += 3) {
      const uint8_t* from = row + static_cast<ptrdiff_t>(x) * layout.bytes;
      if (layout.cut && from[1] > 0)
        std::memset(to, 255, 3);
      else {
        to[0] = from[layout.red];
        to[1] = from[layout.green];
        to[2] = from[layout.blue];
      }
    }
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

}  // namespace

at::Tensor decode_with_libav(std::string_view bytes, const std::filesystem::path& path) {
  libav::quiet();
  const AVCodecID id = codec_of(bytes);
  if (id == AV_CODEC_ID_NONE) fail(path, "picture", "it is none of JPEG, PNG, WebP, BMP, PPM, PGM, TIFF");
  const AVCodec* codec = avcodec_find_decoder(id);
  const std::string name = avcodec_get_name(id);
  if (!codec) fail(path, name, "this build's libav lacks the decoder");
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
  check(av_new_packet(packet.get(), static_cast<int>(bytes.size())));  // padded, as decoders need
  std::memcpy(packet->data, bytes.data(), bytes.size());
  check(avcodec_send_packet(context.get(), packet.get()));
  check(avcodec_send_packet(context.get(), nullptr));
  check(avcodec_receive_frame(context.get(), frame.get()));
  const at::Tensor picture = make_picture(frame->height, frame->width, path);
  const auto format = static_cast<AVPixelFormat>(frame->format);
  Layout layout{};
  if (format == AV_PIX_FMT_PAL8)
    look_up(*frame, picture.data_ptr<uint8_t>());
  else if (layout_of(format, layout))
    convert(*frame, layout, picture.data_ptr<uint8_t>());
  else
    fail(path, name, std::string("pixels of format ") + av_get_pix_fmt_name(format) + " are not read here");
  return picture;
}

}  // namespace tessera::pictures
