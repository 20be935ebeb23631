#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "media/picture_decoders.h"

namespace tessera::pictures {

at::Tensor decode_webp(std::string_view bytes, const std::filesystem::path& path) {
  WebPAnimDecoderOptions options;
  if (!WebPAnimDecoderOptionsInit(&options))
    fail(path, "WebP", "the installed libwebp is not the version that this program was built with");
  options.color_mode = MODE_RGBA;
  const WebPData data{.bytes = reinterpret_cast<const uint8_t*>(bytes.data()), .size = bytes.size()};
  int width = 0, height = 0;
  if (!WebPGetInfo(data.bytes, data.size, &width, &height)) fail(path, "WebP", "it is damaged or cut short");
  const at::Tensor picture = make_picture(height, width, path);  // before the decoder allocates its canvas
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(WebPAnimDecoderNew(&data, &options),
                                                                                   WebPAnimDecoderDelete);
  WebPAnimInfo info;
  uint8_t* pixels = nullptr;
  int milliseconds = 0;
  if (!decoder || !WebPAnimDecoderGetInfo(decoder.get(), &info) || info.canvas_width != static_cast<uint32_t>(width) ||
      info.canvas_height != static_cast<uint32_t>(height) ||
      !WebPAnimDecoderGetNext(decoder.get(), &pixels, &milliseconds))
    fail(path, "WebP", "it is damaged or cut short");
  const int64_t count = picture.size(0) * picture.size(1);
  uint8_t* to = picture.data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i)
    for (int64_t c = 0; c < 3; ++c) to[3 * i + c] = pixels[4 * i + c];
  return picture;
}

}  // namespace tessera::pictures
