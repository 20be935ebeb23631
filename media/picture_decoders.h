#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <string_view>

/// The decoders behind decode_picture (media/picture.h), all with its contract. Private to media.
namespace tessera::pictures {

using Decode = at::Tensor(std::string_view bytes, const std::filesystem::path& path);

Decode decode_jpeg, decode_png, decode_webp, decode_bmp, decode_pnm, decode_tiff, decode_avif, decode_gif;
Decode decode_heif;      // HEIC, and AVIF of the brand mif1
Decode decode_with_stb;  // PSD, HDR, PIC and TGA
Decode decode_tga;       // the same, and pictures that are stored from right to left

/// An empty [height, width, 3] uint8 picture. Throws Error when it is empty or too large.
at::Tensor make_picture(int64_t height, int64_t width, const std::filesystem::path& path);

/// Throws Error: `path` is not a readable `format`, for this reason.
[[noreturn]] void fail(const std::filesystem::path& path, const std::string& format, const std::string& reason);

/// The number of bytes for libraries that count them in an int. Throws Error when they are too many.
int byte_count(std::string_view bytes, const std::filesystem::path& path);

/// "JPEG, PNG, ...": every format that is read, for messages.
std::string format_names();

}  // namespace tessera::pictures
