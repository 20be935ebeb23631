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

/// Throws Error when a picture of this size, which must be positive, is larger than the format that `path` names can
/// be: a PNG 2^30 bytes of pixels, a JPEG 65,500 pixels in a side.
void check_picture_size(const std::filesystem::path& path, int64_t width, int64_t height);

/// A PNG file (8-bit RGB) of pixels as to_bytes takes them, with its text chunks. The same input gives the same bytes.
/// Throws what to_bytes, check_picture_size and insert_png_text throw.
std::string encode_png(const at::Tensor& pixels, const ImageText& text = {});

constexpr int kJpegQuality = 95;

/// A JPEG file of pixels as to_bytes takes them, of kJpegQuality and with chroma at full size, and its text (see
/// jpeg_text_segments). The same input gives the same bytes. Throws what to_bytes and check_picture_size throw.
std::string encode_jpeg(const at::Tensor& pixels, const ImageText& text = {});

/// Writes a picture, atomically, in the format that the path's extension names: a JPEG, else a PNG. Throws what
/// encode_jpeg, encode_png and AtomicFile throw.
void write_picture(const std::filesystem::path& path, const at::Tensor& pixels, const ImageText& text = {});

/// Writes encode_png's bytes, atomically. Throws what encode_png and AtomicFile throw.
void write_png(const std::filesystem::path& path, const at::Tensor& pixels, const ImageText& text = {});

}  // namespace tessera
