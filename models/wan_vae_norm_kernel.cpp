#include "models/wan_vae_norm_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

// Sixteen lanes through the compiler's vector extension: one body, compiled for each instruction set below and chosen
// at run time, because the program itself is built for any x86-64.
#pragma GCC diagnostic ignored "-Wpsabi"
#define TESSERA_INLINE [[gnu::always_inline]] inline

namespace tessera {
namespace {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(4 * kLanes)));
using Words = uint32_t __attribute__((vector_size(4 * kLanes)));
using Ints = int32_t __attribute__((vector_size(4 * kLanes)));
using Halves = uint16_t __attribute__((vector_size(2 * kLanes)));

TESSERA_INLINE Floats load(const float* from, int64_t count) {
  Floats out{};
  if (count >= kLanes)
    std::memcpy(&out, from, sizeof(out));
  else
    std::memcpy(&out, from, static_cast<size_t>(count) * sizeof(float));
  return out;
}

TESSERA_INLINE Floats load(const Bfloat16Bits* from, int64_t count) {
  Halves halves{};
  if (count >= kLanes)
    std::memcpy(&halves, from, sizeof(halves));
  else
    std::memcpy(&halves, from, static_cast<size_t>(count) * sizeof(uint16_t));
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

TESSERA_INLINE void store(Floats value, float* to, int64_t count) {
  if (count >= kLanes)
    std::memcpy(to, &value, sizeof(value));
  else
    std::memcpy(to, &value, static_cast<size_t>(count) * sizeof(float));
}

/// Rounds to nearest even. A NaN whose payload would vanish stays a NaN.
TESSERA_INLINE void store(Floats value, Bfloat16Bits* to, int64_t count) {
  const Words bits = reinterpret_cast<Words>(value);
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words is_number = reinterpret_cast<Words>(value == value);
  const Halves halves = __builtin_convertvector((rounded & is_number) | (0x7fc0 & ~is_number), Halves);
  if (count >= kLanes)
    std::memcpy(to, &halves, sizeof(halves));
  else
    std::memcpy(to, &halves, static_cast<size_t>(count) * sizeof(uint16_t));
}

TESSERA_INLINE float sum(Floats value) {
  float parts[kLanes];
  std::memcpy(parts, &value, sizeof(parts));
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t i = 0; i < width; ++i) parts[i] += parts[i + width];
  return parts[0];
}

/// 1 / (1 + exp(-x)), exp by the classical reduction to |r| <= ln 2 / 2 and a polynomial of degree 6 (error 1e-7).
TESSERA_INLINE Floats sigmoid(Floats x) {
  Floats t = -x;
  t = t < -87.0f ? Floats{} - 87.0f : t;
  t = t > 87.0f ? Floats{} + 87.0f : t;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats whole = (t * 1.44269504f + kRound) - kRound;
  const Floats r = (t - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Floats power = reinterpret_cast<Floats>((__builtin_convertvector(whole, Ints) + 127) << 23);
  return 1.0f / (1.0f + p * power);
}

template <typename Value>
TESSERA_INLINE void forward_rows(const Value* x, const float* gain, bool silu, int64_t rows, int64_t channels, Value* y,
                                 float* inverse) {
  const float root = std::sqrt(static_cast<float>(channels));
  for (int64_t row = 0; row < rows; ++row, x += channels, y += channels) {
    Floats squares{};
    for (int64_t c = 0; c < channels; c += kLanes) {
      const Floats v = load(x + c, channels - c);
      squares += v * v;
    }
    const float scale = root / std::max(std::sqrt(sum(squares)), 1e-12f);
    inverse[row] = scale;
    for (int64_t c = 0; c < channels; c += kLanes) {
      const Floats n = load(x + c, channels - c) * scale * load(gain + c, channels - c);
      store(silu ? n * sigmoid(n) : n, y + c, channels - c);
    }
  }
}

/// d silu(n) / dn.
TESSERA_INLINE Floats silu_slope(Floats n) {
  const Floats s = sigmoid(n);
  return s * (1.0f + n * (1.0f - s));
}

template <typename Value>
TESSERA_INLINE void backward_rows(const Value* x, const float* gain, const float* inverse, const Value* dy, bool silu,
                                  int64_t rows, int64_t channels, Value* dx, float* dgain, float* dunit) {
  for (int64_t row = 0; row < rows; ++row, x += channels, dy += channels, dx += channels) {
    const float scale = inverse[row];
    Floats dots{};
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int64_t left = channels - c;
      const Floats unit = load(x + c, left) * scale, g = load(gain + c, left);
      const Floats dn = silu ? load(dy + c, left) * silu_slope(unit * g) : load(dy + c, left);
      store(load(dgain + c, left) + dn * unit, dgain + c, left);
      store(dn * g, dunit + c, left);
      dots += dn * g * unit;
    }
    const float mean = sum(dots) / static_cast<float>(channels);
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int64_t left = channels - c;
      const Floats unit = load(x + c, left) * scale;
      store((load(dunit + c, left) - unit * mean) * scale, dx + c, left);
    }
  }
}

#define TESSERA_VARIANT(name, attribute)                                                                              \
  template <typename Value>                                                                                           \
  attribute void forward_##name(const Value* x, const float* gain, bool silu, int64_t rows, int64_t channels,         \
                                Value* y, float* inverse) {                                                           \
    if (silu)                                                                                                         \
      forward_rows(x, gain, true, rows, channels, y, inverse);                                                        \
    else                                                                                                              \
      forward_rows(x, gain, false, rows, channels, y, inverse);                                                       \
  }                                                                                                                   \
  template <typename Value>                                                                                           \
  attribute void backward_##name(const Value* x, const float* gain, const float* inverse, const Value* dy, bool silu, \
                                 int64_t rows, int64_t channels, Value* dx, float* dgain, float* dunit) {             \
    if (silu)                                                                                                         \
      backward_rows(x, gain, inverse, dy, true, rows, channels, dx, dgain, dunit);                                    \
    else                                                                                                              \
      backward_rows(x, gain, inverse, dy, false, rows, channels, dx, dgain, dunit);                                   \
  }

TESSERA_VARIANT(any, )
#if defined(__x86_64__)
TESSERA_VARIANT(avx2, [[gnu::target("avx2,fma")]])
TESSERA_VARIANT(avx512, [[gnu::target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]])

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace

template <typename Value>
void normalise_rows(const Value* x, const float* gain, bool silu, int64_t rows, int64_t channels, Value* y,
                    float* inverse) {
#if defined(__x86_64__)
  if (has_avx512()) return forward_avx512(x, gain, silu, rows, channels, y, inverse);
  if (has_avx2()) return forward_avx2(x, gain, silu, rows, channels, y, inverse);
#endif
  forward_any(x, gain, silu, rows, channels, y, inverse);
}

template <typename Value>
void normalise_rows_backward(const Value* x, const float* gain, const float* inverse, const Value* dy, bool silu,
                             int64_t rows, int64_t channels, Value* dx, float* dgain) {
  std::vector<float> row(static_cast<size_t>(channels));
  float* dunit = row.data();
#if defined(__x86_64__)
  if (has_avx512()) return backward_avx512(x, gain, inverse, dy, silu, rows, channels, dx, dgain, dunit);
  if (has_avx2()) return backward_avx2(x, gain, inverse, dy, silu, rows, channels, dx, dgain, dunit);
#endif
  backward_any(x, gain, inverse, dy, silu, rows, channels, dx, dgain, dunit);
}

template void normalise_rows(const float*, const float*, bool, int64_t, int64_t, float*, float*);
template void normalise_rows(const Bfloat16Bits*, const float*, bool, int64_t, int64_t, Bfloat16Bits*, float*);
template void normalise_rows_backward(const float*, const float*, const float*, const float*, bool, int64_t, int64_t,
                                      float*, float*);
template void normalise_rows_backward(const Bfloat16Bits*, const float*, const float*, const Bfloat16Bits*, bool,
                                      int64_t, int64_t, Bfloat16Bits*, float*);

}  // namespace tessera
