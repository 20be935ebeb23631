#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

#include "media/png_text.h"

namespace tessera {

/// Pixels as bytes: [H, W, 3] uint8, contiguous, on the CPU. `pixels` is [3, H, W] or [H, W, 3], RGB, either uint8
/// (passed through) or floating in [0, 1]: clamped, then x * 255 in float32 rounded to the nearest integer, halves to
/// even. Where first and last size are 3, uint8 is [H, W, 3] and floating is [3, H, W]. Throws Error (bad pixels) when
/// a value is NaN or infinite, c10::Error for other shapes.
at::Tensor to_bytes(const at::Tensor& pixels);

/// A PNG file (8-bit RGB) of pixels as to_bytes takes them, with its text chunks. The same input gives the same bytes.
std::string encode_png(const at::Tensor& pixels, const ImageText& text = {});

/// Writes encode_png's bytes, atomically. Errors are to_bytes', insert_png_text's and AtomicFile's.
void write_png(const std::filesystem::path& path, const at::Tensor& pixels, const ImageText& text = {});

/// A decoded picture and what it carries.
struct Image {
  at::Tensor pixels;  ///< [H, W, 3] uint8 RGB; gray is spread, alpha is dropped, 16 bits are cut to 8
  ImageText text;     ///< PNG only
};

/// Reads a PNG or JPEG file. Throws Error naming the file when it is absent, cut short or no such picture.
Image read_image(const std::filesystem::path& path);

}  // namespace tessera
