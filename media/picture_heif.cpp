#include <avif/avif.h>
#include <libheif/heif.h>

#include <cstring>
#include <memory>
#include <vector>

#include "media/picture_decoders.h"

namespace tessera::pictures {
namespace {

struct Free {
  void operator()(avifDecoder* p) const { avifDecoderDestroy(p); }
  void operator()(heif_context* p) const { heif_context_free(p); }
  void operator()(heif_image_handle* p) const { heif_image_handle_release(p); }
  void operator()(heif_image* p) const { heif_image_release(p); }
};

void check(avifResult result, const std::filesystem::path& path) {
  if (result != AVIF_RESULT_OK) fail(path, "AVIF", avifResultToString(result));
}

void check(const heif_error& error, const std::filesystem::path& path) {
  if (error.code != heif_error_Ok) fail(path, "HEIF", error.message);
}

}  // namespace

at::Tensor decode_avif(std::string_view bytes, const std::filesystem::path& path) {
  const std::unique_ptr<avifDecoder, Free> decoder(avifDecoderCreate());
  TORCH_CHECK(decoder, "out of memory for an AVIF decoder");
  // dav1d, the other decoder, prints what it finds wrong.
  if (avifCodecName(AVIF_CODEC_CHOICE_AOM, AVIF_CODEC_FLAG_CAN_DECODE)) decoder->codecChoice = AVIF_CODEC_CHOICE_AOM;
  // Pillow, too, reads files that leave out `pixi` or have a wrong `clap`.
  decoder->strictFlags &= ~static_cast<avifStrictFlags>(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
  decoder->ignoreExif = decoder->ignoreXMP = AVIF_TRUE;
  check(avifDecoderSetIOMemory(decoder.get(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), path);
  check(avifDecoderParse(decoder.get()), path);
  const at::Tensor picture = make_picture(decoder->image->height, decoder->image->width, path);
  check(avifDecoderNextImage(decoder.get()), path);
  const avifImage& image = *decoder->image;
  if (image.height != picture.size(0) || image.width != picture.size(1))
    fail(path, "AVIF", "its frame differs in size from what the file says");
  avifRGBImage rgb;
  avifRGBImageSetDefaults(&rgb, &image);
  rgb.depth = 8;
  rgb.format = decoder->alphaPresent ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  const size_t channels = avifRGBFormatChannelCount(rgb.format);
  std::vector<uint8_t> with_alpha(decoder->alphaPresent ? static_cast<size_t>(picture.numel()) / 3 * 4 : 0);
  rgb.pixels = with_alpha.empty() ? picture.data_ptr<uint8_t>() : with_alpha.data();
  rgb.rowBytes = static_cast<uint32_t>(image.width * channels);
  check(avifImageYUVToRGB(&image, &rgb), path);
  for (size_t i = 0; i < with_alpha.size() / 4; ++i)
    std::memcpy(picture.data_ptr<uint8_t>() + 3 * i, with_alpha.data() + 4 * i, 3);
  return picture;
}

at::Tensor decode_heif(std::string_view bytes, const std::filesystem::path& path) {
  const avifROData data{.data = reinterpret_cast<const uint8_t*>(bytes.data()), .size = bytes.size()};
  if (avifPeekCompatibleFileType(&data)) return decode_avif(bytes, path);
  const std::unique_ptr<heif_context, Free> context(heif_context_alloc());
  TORCH_CHECK(context, "out of memory for a HEIF decoder");
  heif_context_set_max_decoding_threads(context.get(), 0);
  check(heif_context_read_from_memory_without_copy(context.get(), bytes.data(), bytes.size(), nullptr), path);
  heif_image_handle* found = nullptr;
  check(heif_context_get_primary_image_handle(context.get(), &found), path);
  const std::unique_ptr<heif_image_handle, Free> handle(found);
  const at::Tensor picture =
      make_picture(heif_image_handle_get_height(found), heif_image_handle_get_width(found), path);
  heif_image* decoded = nullptr;
  check(heif_decode_image(found, &decoded, heif_colorspace_RGB, heif_chroma_interleaved_RGB, nullptr), path);
  const std::unique_ptr<heif_image, Free> image(decoded);
  int stride = 0;
  const uint8_t* rows = heif_image_get_plane_readonly(decoded, heif_channel_interleaved, &stride);
  if (!rows || heif_image_get_height(decoded, heif_channel_interleaved) != picture.size(0) ||
      heif_image_get_width(decoded, heif_channel_interleaved) != picture.size(1))
    fail(path, "HEIF", "its picture differs in size from what the file says");
  const int64_t row_bytes = picture.size(1) * 3;
  for (int64_t y = 0; y < picture.size(0); ++y)
    std::memcpy(picture.data_ptr<uint8_t>() + y * row_bytes, rows + y * stride, static_cast<size_t>(row_bytes));
  return picture;
}

}  // namespace tessera::pictures
