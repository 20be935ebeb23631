#pragma once

#include "tests/support/cuda/cuda_runtime.h"

struct __half {
  uint16_t bits;
};

inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}

inline float __half2float(__half v) {
  const int exponent = v.bits >> 10 & 31, mantissa = v.bits & 1023;
  float value = exponent > 0 ? std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25)
                             : std::ldexp(static_cast<float>(mantissa), -24);
  if (exponent == 31) value = mantissa != 0 ? NAN : INFINITY;
  return (v.bits & 0x8000) != 0 ? -value : value;
}

/// Rounds to the nearest, ties to even.
inline __half __float2half(float v) {
  const auto sign = static_cast<uint16_t>(std::signbit(v) ? 0x8000 : 0);
  const float size = std::fabs(v);
  if (v != v) return {0x7fff};
  if (size >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00)};
  if (size < 0x1p-24f / 2) return {sign};
  const int exponent = std::max(std::ilogb(size), -14);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent)));  // 1024 to 2048 if normal
  return {static_cast<uint16_t>(sign | (steps + ((exponent + 14) << 10)))};
}
