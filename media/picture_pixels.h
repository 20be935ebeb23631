#pragma once

#include <algorithm>
#include <cstdint>

/// Pillow's arithmetic on the samples of a picture. Private to media.
namespace tessera::pictures {

/// A number beyond 8 bits: Pillow clips it and does not scale it; a fraction is cut off, and NaN becomes 0.
inline uint8_t clipped(double value) {
  return value > 0 ? static_cast<uint8_t>(std::min(value, 255.0)) : uint8_t{0};
}

/// a * b / 255, rounded, for a and b in [0, 255].
inline uint8_t product(int a, int b) {
  const int value = a * b + 128;
  return static_cast<uint8_t>(((value >> 8) + value) >> 8);
}

/// Ink (0 is none) to light, without a color profile.
inline void cmyk_to_rgb(const uint8_t* cmyk, uint8_t* rgb) {
  const int light = 255 - cmyk[3];
  for (int c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(light - product(cmyk[c], light));
}

/// A sample that was multiplied by alpha / 255, as it was before; 0 where nothing is left of it.
inline uint8_t unmultiplied(int sample, int alpha) {
  return alpha == 0 ? uint8_t{0} : static_cast<uint8_t>(std::min(sample * 255 / alpha, 255));
}

}  // namespace tessera::pictures
