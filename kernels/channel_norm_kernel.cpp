#include "kernels/channel_norm_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/simd.h"

namespace tessera {
namespace {

using namespace simd;

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

#endif

}  // namespace

template <typename Value>
void normalize_rows(const Value* x, const float* gain, bool silu, int64_t rows, int64_t channels, Value* y,
                    float* inverse) {
#if defined(__x86_64__)
  if (has_avx512()) return forward_avx512(x, gain, silu, rows, channels, y, inverse);
  if (has_avx2()) return forward_avx2(x, gain, silu, rows, channels, y, inverse);
#endif
  forward_any(x, gain, silu, rows, channels, y, inverse);
}

template <typename Value>
void normalize_rows_backward(const Value* x, const float* gain, const float* inverse, const Value* dy, bool silu,
                             int64_t rows, int64_t channels, Value* dx, float* dgain) {
  std::vector<float> row(static_cast<size_t>(channels));
  float* dunit = row.data();
#if defined(__x86_64__)
  if (has_avx512()) return backward_avx512(x, gain, inverse, dy, silu, rows, channels, dx, dgain, dunit);
  if (has_avx2()) return backward_avx2(x, gain, inverse, dy, silu, rows, channels, dx, dgain, dunit);
#endif
  backward_any(x, gain, inverse, dy, silu, rows, channels, dx, dgain, dunit);
}

template void normalize_rows(const float*, const float*, bool, int64_t, int64_t, float*, float*);
template void normalize_rows(const Bfloat16Bits*, const float*, bool, int64_t, int64_t, Bfloat16Bits*, float*);
template void normalize_rows_backward(const float*, const float*, const float*, const float*, bool, int64_t, int64_t,
                                      float*, float*);
template void normalize_rows_backward(const Bfloat16Bits*, const float*, const float*, const Bfloat16Bits*, bool,
                                      int64_t, int64_t, Bfloat16Bits*, float*);

}  // namespace tessera
