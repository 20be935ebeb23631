#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace tessera {

/// Decodes a picture to the very bytes that Pillow's Image.open(path).convert("RGB") gives: [H, W, 3] uint8.
///
/// JPEG (libjpeg: slow integer DCT, smooth chroma; CMYK and YCCK through Pillow's formula, Adobe's inversion undone),
/// PNG (1 to 16 bits; 16-bit color keeps the high byte, 16-bit gray is cut off at 255 as Pillow does), WebP, and BMP,
/// PPM, PGM and TIFF where libav reads them. Gray is spread, palettes are looked up, alpha is dropped and not blended,
/// color profiles, gamma and EXIF orientation are ignored, and of several pictures in a file the first is read.
/// Throws Error naming `path` when it is no such picture, is cut short, or has more than 358 million pixels.
at::Tensor decode_picture(std::string_view bytes, const std::filesystem::path& path);
at::Tensor read_picture(const std::filesystem::path& path);

namespace pictures {

// One decoder a format, all with decode_picture's contract. Private to media.
at::Tensor decode_jpeg(std::string_view bytes, const std::filesystem::path& path);
at::Tensor decode_png(std::string_view bytes, const std::filesystem::path& path);
at::Tensor decode_webp(std::string_view bytes, const std::filesystem::path& path);
at::Tensor decode_with_libav(std::string_view bytes, const std::filesystem::path& path);

/// An empty [height, width, 3] uint8 picture. Throws Error when it is empty or too large.
at::Tensor make_picture(int64_t height, int64_t width, const std::filesystem::path& path);
[[noreturn]] void fail(const std::filesystem::path& path, const std::string& format, const std::string& reason);

}  // namespace pictures
}  // namespace tessera
