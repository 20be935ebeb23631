#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tessera {

/// At most 256 colors for one frame and each pixel's index into them.
struct Palette {
  std::array<uint32_t, 256> colors{};  ///< 0xFFRRGGBB; unused entries are black
  std::vector<uint8_t> indices;
};

/// Median cut over 6 bits per channel, each color the mean of its pixels, no dithering: exact when the frame has at
/// most 256 colors that differ in those bits. `rgb` is H * W * 3 bytes. Source: Heckbert, "Color image quantization",
/// 1982.
Palette quantize(std::span<const uint8_t> rgb);

}  // namespace tessera
