#include "kernels/fused_kernels.h"

#include <cmath>

namespace tessera {
namespace {

using namespace simd;

constexpr float kKernelEps = 1e-6f;

struct Place {
  int64_t token, x, y;
};

TESSERA_INLINE Place place_of(const NormRows& l, int64_t row) {
  const int64_t sample = row / l.tokens, token = row % l.tokens;
  return {token, sample * l.x_sample + l.x_token[token], sample * l.y_sample + l.y_token[token]};
}

template <typename In>
TESSERA_INLINE float scale_of(const In* x, const NormRows& l, int64_t pieces) {
  Floats squares{};
  for (int64_t h = 0; h < pieces; ++h)
    for (int64_t c = 0; c < l.piece; c += kLanes) {
      const Floats v = load(x + h * l.x_piece + c, l.piece - c);
      squares += v * v;
    }
  return 1.0f / std::sqrt(sum(squares) / static_cast<float>(pieces * l.piece) + l.eps);
}

template <bool kFeatures, typename In, typename Out>
TESSERA_INLINE void forward_rows(const NormRows& l, int64_t begin, int64_t end, const In* x, Out* y, float* plain,
                                 float* scale) {
  for (int64_t row = begin; row < end; ++row) {
    const Place at = place_of(l, row);
    float factor = l.each_piece ? 0.0f : scale[row] = scale_of(x + at.x, l, l.pieces);
    for (int64_t h = 0; h < l.pieces; ++h) {
      const In* from = x + at.x + h * l.x_piece;
      const int64_t to = at.y + h * l.y_piece;
      if (l.each_piece) factor = scale[row * l.pieces + h] = scale_of(from, l, 1);
      const float* weight = l.weight + (l.each_piece ? 0 : h * l.piece);
      for (int64_t c = 0; c < l.piece; c += kLanes) {
        const int64_t left = l.piece - c;
        Floats v = load(from + c, left) * factor * load(weight + c, left);
        if constexpr (kFeatures) {
          v = (v < 0.0f ? Floats{} : v) + kKernelEps;  // a NaN stays one
          if (plain) store(v, plain + to + c, left);
          v = v * load(l.cosines + at.token * l.piece + c, left) +
              swap_pairs(v) * load(l.sines + at.token * l.piece + c, left);
        }
        store(v, y + to + c, left);
      }
    }
  }
}

template <bool kFeatures, typename In, typename Out>
TESSERA_INLINE void backward_rows(const NormRows& l, int64_t begin, int64_t end, const In* x, const float* scale,
                                  const Out* dy, const float* dplain, In* dx, float* dweight, float* scratch) {
  for (int64_t row = begin; row < end; ++row) {
    const Place at = place_of(l, row);
    const int64_t norms = l.each_piece ? l.pieces : 1, pieces = l.each_piece ? 1 : l.pieces;
    for (int64_t norm = 0; norm < norms; ++norm) {
      const float factor = scale[row * norms + norm];
      Floats dots{};
      for (int64_t h = 0; h < pieces; ++h) {
        const int64_t from = at.x + (norm + h) * l.x_piece, to = at.y + (norm + h) * l.y_piece;
        for (int64_t c = 0; c < l.piece; c += kLanes) {
          const int64_t left = l.piece - c;
          const Floats unit = load(x + from + c, left) * factor, g = load(l.weight + h * l.piece + c, left);
          Floats dn = load(dy + to + c, left);
          if constexpr (kFeatures) {
            dn = dn * load(l.cosines + at.token * l.piece + c, left) +
                 swap_pairs(dn * load(l.sines + at.token * l.piece + c, left));
            if (dplain) dn += load(dplain + to + c, left);
            dn = unit * g > 0.0f ? dn : Floats{};
          }
          float* total = dweight + h * l.piece + c;
          store(load(total, left) + dn * unit, total, left);
          store(dn * g, scratch + h * l.piece + c, left);
          dots += dn * g * unit;
        }
      }
      const float mean = sum(dots) / static_cast<float>(pieces * l.piece);
      for (int64_t h = 0; h < pieces; ++h) {
        const int64_t from = at.x + (norm + h) * l.x_piece;
        for (int64_t c = 0; c < l.piece; c += kLanes) {
          const int64_t left = l.piece - c;
          const Floats unit = load(x + from + c, left) * factor;
          store((load(scratch + h * l.piece + c, left) - unit * mean) * factor, dx + from + c, left);
        }
      }
    }
  }
}

constexpr float kRootTwoOverPi = 0.7978845608f, kCubic = 0.044715f;

/// 0.5 (1 + tanh u) = sigmoid(2 u).
TESSERA_INLINE Floats gelu_gate(Floats x) {
  return sigmoid(x * (2 * kRootTwoOverPi) * (1.0f + kCubic * x * x));
}

template <typename Value>
TESSERA_INLINE void gelu_forward(const Value* x, int64_t count, Value* y) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = load(x + i, count - i);
    store(v * gelu_gate(v), y + i, count - i);
  }
}

template <typename Value>
TESSERA_INLINE void gelu_backward(const Value* x, const Value* dy, int64_t count, Value* dx) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = load(x + i, count - i), gate = gelu_gate(v);
    const Floats slope = (2 * kRootTwoOverPi) * (1.0f + 3 * kCubic * v * v);
    store(load(dy + i, count - i) * gate * (1.0f + v * (1.0f - gate) * slope), dx + i, count - i);
  }
}

#define TESSERA_VARIANT(name, attribute)                                                                              \
  template <typename In, typename Out>                                                                                \
  attribute void norm_##name(const NormRows& l, int64_t begin, int64_t end, const In* x, Out* y, float* plain,        \
                             float* scale) {                                                                          \
    if (l.cosines)                                                                                                    \
      forward_rows<true>(l, begin, end, x, y, plain, scale);                                                          \
    else                                                                                                              \
      forward_rows<false>(l, begin, end, x, y, plain, scale);                                                         \
  }                                                                                                                   \
  template <typename In, typename Out>                                                                                \
  attribute void norm_backward_##name(const NormRows& l, int64_t begin, int64_t end, const In* x, const float* scale, \
                                      const Out* dy, const float* dplain, In* dx, float* dweight, float* scratch) {   \
    if (l.cosines)                                                                                                    \
      backward_rows<true>(l, begin, end, x, scale, dy, dplain, dx, dweight, scratch);                                 \
    else                                                                                                              \
      backward_rows<false>(l, begin, end, x, scale, dy, dplain, dx, dweight, scratch);                                \
  }                                                                                                                   \
  template <typename Value>                                                                                           \
  attribute void gelu_##name(const Value* x, int64_t count, Value* y) {                                               \
    gelu_forward(x, count, y);                                                                                        \
  }                                                                                                                   \
  template <typename Value>                                                                                           \
  attribute void gelu_backward_##name(const Value* x, const Value* dy, int64_t count, Value* dx) {                    \
    gelu_backward(x, dy, count, dx);                                                                                  \
  }

TESSERA_VARIANT(any, )
#if defined(__x86_64__)
TESSERA_VARIANT(avx2, [[gnu::target("avx2,fma")]])
TESSERA_VARIANT(avx512, [[gnu::target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]])
#define TESSERA_DISPATCH(function, ...)                            \
  do {                                                             \
    if (simd::has_avx512()) return function##_avx512(__VA_ARGS__); \
    if (simd::has_avx2()) return function##_avx2(__VA_ARGS__);     \
    return function##_any(__VA_ARGS__);                            \
  } while (false)
#else
#define TESSERA_DISPATCH(function, ...) return function##_any(__VA_ARGS__)
#endif

}  // namespace

template <typename In, typename Out>
void norm_rows(const NormRows& layout, int64_t begin, int64_t end, const In* x, Out* y, float* plain, float* scale) {
  TESSERA_DISPATCH(norm, layout, begin, end, x, y, plain, scale);
}

template <typename In, typename Out>
void norm_rows_backward(const NormRows& layout, int64_t begin, int64_t end, const In* x, const float* scale,
                        const Out* dy, const float* dplain, In* dx, float* dweight, float* scratch) {
  TESSERA_DISPATCH(norm_backward, layout, begin, end, x, scale, dy, dplain, dx, dweight, scratch);
}

template <typename Value>
void gelu_values(const Value* x, int64_t count, Value* y) {
  TESSERA_DISPATCH(gelu, x, count, y);
}

template <typename Value>
void gelu_values_backward(const Value* x, const Value* dy, int64_t count, Value* dx) {
  TESSERA_DISPATCH(gelu_backward, x, dy, count, dx);
}

#define TESSERA_INSTANTIATE(In, Out)                                                                       \
  template void norm_rows(const NormRows&, int64_t, int64_t, const In*, Out*, float*, float*);             \
  template void norm_rows_backward(const NormRows&, int64_t, int64_t, const In*, const float*, const Out*, \
                                   const float*, In*, float*, float*);
TESSERA_INSTANTIATE(float, float)
TESSERA_INSTANTIATE(float, Bfloat16Bits)
TESSERA_INSTANTIATE(Bfloat16Bits, float)
TESSERA_INSTANTIATE(Bfloat16Bits, Bfloat16Bits)
template void gelu_values(const float*, int64_t, float*);
template void gelu_values(const Bfloat16Bits*, int64_t, Bfloat16Bits*);
template void gelu_values_backward(const float*, const float*, int64_t, float*);
template void gelu_values_backward(const Bfloat16Bits*, const Bfloat16Bits*, int64_t, Bfloat16Bits*);

}  // namespace tessera
