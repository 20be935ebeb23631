#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string_view>

namespace tessera {

/// Decodes a picture to the same bytes as Pillow's Image.open(path).convert("RGB"): [H, W, 3] uint8. Every picture is
/// read through it; the first bytes, not the name, choose the decoder.
///
/// JPEG (libjpeg: slow integer DCT, smooth chroma; CMYK and YCCK through Pillow's formula, Adobe's inversion undone),
/// PNG, WebP, AVIF, TIFF, BMP, GIF, PBM, PGM, PPM and gray PFM. Gray is spread, palettes are looked up, alpha is
/// dropped and not blended, CMYK is converted without a profile, color profiles and gamma are ignored, and only the
/// first picture of a file is read. 16-bit color keeps the high byte; gray of more than 8 bits and floating-point gray
/// are clipped to 255. The orientation tag of a TIFF is applied, EXIF's orientation in other formats is not: all as
/// Pillow does.
///
/// HEIC, which Pillow does not read, comes upright from libheif. TGA, PSD, Radiance HDR and Softimage PIC are read
/// through stb_image, which may differ from Pillow: the white matte of a transparent PSD is removed, HDR becomes 8 bits
/// with a gamma of 2.2.
///
/// Throws Error naming `path` when it is none of these, is cut short, or has more than 358 million pixels.
at::Tensor decode_picture(std::string_view bytes, const std::filesystem::path& path);

/// Reads a file and decodes it as decode_picture does. Also throws Error when it cannot be read or is no regular file:
/// a FIFO is not opened.
at::Tensor read_picture(const std::filesystem::path& path);

}  // namespace tessera
