#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace tessera {

/// A JPEG of at most `most_bytes` bytes and at most `most_side` pixels a side, of pixels as to_bytes (media/image_io.h)
/// takes them. Larger pictures are shrunk with antialiasing and keep their shape; smaller ones stay as they are.
/// Quality is reduced first, then size. "" when not even 16 pixels a side fit.
std::string encode_thumbnail(const at::Tensor& pixels, int64_t most_side, size_t most_bytes);

}  // namespace tessera
