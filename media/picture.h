#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string_view>

namespace tessera {

/// Decodes a picture to the same bytes as Pillow's Image.open(path).convert("RGB"): [H, W, 3] uint8. Every picture is
/// read through it; the first bytes, not the name, choose the decoder.
///
/// JPEG (libjpeg: slow integer DCT, smooth chroma; CMYK and YCCK through Pillow's formula, Adobe's inversion undone),
/// PNG (1 to 16 bits; 16-bit color keeps the high byte, 16-bit gray is clipped to 255 as in Pillow), WebP, BMP, PPM,
/// PGM and TIFF. Gray is spread, palettes are looked up, alpha is dropped and not blended, color profiles, gamma and
/// EXIF orientation are ignored, and only the first picture of a file is read.
///
/// GIF, TGA, PSD, Radiance HDR and Softimage PIC are read through stb_image, which may differ from Pillow: transparent
/// pixels of a GIF take its background color or black, the white matte of a transparent PSD is removed, HDR becomes 8
/// bits with a gamma of 2.2.
///
/// Throws Error naming `path` when it is none of these, is cut short, or has more than 358 million pixels.
at::Tensor decode_picture(std::string_view bytes, const std::filesystem::path& path);

/// Reads a file and decodes it as decode_picture does. Also throws Error when the file cannot be read.
at::Tensor read_picture(const std::filesystem::path& path);

}  // namespace tessera
