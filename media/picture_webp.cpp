#include <webp/demux.h>

#include <memory>

#include "media/picture.h"

namespace tessera::pictures {

at::Tensor decode_webp(std::string_view bytes, const std::filesystem::path& path) {
  WebPAnimDecoderOptions options;
  if (!WebPAnimDecoderOptionsInit(&options)) fail(path, "WebP", "the library has another version than was built for");
  options.color_mode = MODE_RGBA;
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(WebPAnimDecoderNew(&data, &options),
                                                                                   WebPAnimDecoderDelete);
  WebPAnimInfo info;
  if (!decoder || !WebPAnimDecoderGetInfo(decoder.get(), &info)) fail(path, "WebP", "it is damaged or cut short");
  const at::Tensor picture = make_picture(info.canvas_height, info.canvas_width, path);
  uint8_t* pixels = nullptr;
  int milliseconds = 0;
  if (!WebPAnimDecoderGetNext(decoder.get(), &pixels, &milliseconds)) fail(path, "WebP", "it is damaged or cut short");
  const int64_t count = picture.size(0) * picture.size(1);
  uint8_t* to = picture.data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i)
    for (int64_t c = 0; c < 3; ++c) to[3 * i + c] = pixels[4 * i + c];
  return picture;
}

}  // namespace tessera::pictures
