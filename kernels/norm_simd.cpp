#include "kernels/norm_simd.h"

#include <cmath>

#include "kernels/simd.h"

namespace tessera {
namespace {

using namespace simd;

constexpr float kFeatureEps = 1e-6f;

/// The rows of a layout in order, with where each begins.
struct RowCursor {
  const NormRows& layout;
  int64_t sample, token;

  TESSERA_INLINE RowCursor(const NormRows& l, int64_t row) : layout(l), sample(row / l.tokens), token(row % l.tokens) {}
  TESSERA_INLINE int64_t x() const { return sample * layout.x_sample + layout.x_token[token]; }
  TESSERA_INLINE int64_t y() const { return sample * layout.y_sample + layout.y_token[token]; }
  TESSERA_INLINE void advance() {
    if (++token < layout.tokens) return;
    token = 0;
    ++sample;
  }
};

template <typename In>
TESSERA_INLINE float scale_of(const In* x, const NormRows& l, int64_t heads) {
  Floats squares{};
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t c = 0; c < l.head_dim; c += kLanes) {
      const Floats v = load(x + h * l.x_head + c, l.head_dim - c);
      squares += v * v;
    }
  const float total = sum(squares), count = static_cast<float>(heads * l.head_dim);
  if (l.scale == NormScale::kLength) return std::sqrt(count) / std::max(std::sqrt(total), l.eps);
  return 1.0f / std::sqrt(total / count + l.eps);
}

template <NormEpilogue kEpilogue, typename In, typename Out>
TESSERA_INLINE void forward_rows(const NormRows& l, int64_t begin, int64_t end, const In* x, Out* y, float* unrotated,
                                 float* scales) {
  RowCursor at(l, begin);
  for (int64_t row = begin; row < end; ++row, at.advance()) {
    const int64_t from_row = at.x(), to_row = at.y(), token = at.token * l.head_dim;
    float scale = l.each_head ? 0.0f : scales[row] = scale_of(x + from_row, l, l.heads);
    for (int64_t h = 0; h < l.heads; ++h) {
      const In* from = x + from_row + h * l.x_head;
      const int64_t to = to_row + h * l.y_head;
      if (l.each_head) scale = scales[row * l.heads + h] = scale_of(from, l, 1);
      const float* weight = l.weight + (l.each_head ? 0 : h * l.head_dim);
      for (int64_t c = 0; c < l.head_dim; c += kLanes) {
        const int64_t left = l.head_dim - c;
        Floats v = load(from + c, left) * scale * load(weight + c, left);
        if constexpr (kEpilogue == NormEpilogue::kSilu) v = v * sigmoid(v);
        if constexpr (kEpilogue == NormEpilogue::kRotatedFeatures) {
          v = (v < 0.0f ? Floats{} : v) + kFeatureEps;  // a NaN stays one
          if (unrotated) store(v, unrotated + to + c, left);
        }
        if constexpr (kEpilogue == NormEpilogue::kRotatedFeatures || kEpilogue == NormEpilogue::kRotated)
          v = v * load(l.cosines + token + c, left) + swap_pairs(v) * load(l.sines + token + c, left);
        store(v, y + to + c, left);
      }
    }
  }
}

/// d silu(n) / dn.
TESSERA_INLINE Floats silu_slope(Floats n) {
  const Floats s = sigmoid(n);
  return s * (1.0f + n * (1.0f - s));
}

template <NormEpilogue kEpilogue, typename In, typename Out>
TESSERA_INLINE void backward_rows(const NormRows& l, int64_t begin, int64_t end, const In* x, const float* scales,
                                  const Out* dy, const float* dunrotated, In* dx, float* dweight, float* scratch) {
  const int64_t norms = l.each_head ? l.heads : 1, heads = l.each_head ? 1 : l.heads;  // norms a row, heads a norm
  RowCursor at(l, begin);
  for (int64_t row = begin; row < end; ++row, at.advance()) {
    const int64_t from_row = at.x(), to_row = at.y(), token = at.token * l.head_dim;
    for (int64_t norm = 0; norm < norms; ++norm) {
      const float scale = scales[row * norms + norm];
      Floats dots{};
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t from = from_row + (norm + h) * l.x_head, to = to_row + (norm + h) * l.y_head;
        for (int64_t c = 0; c < l.head_dim; c += kLanes) {
          const int64_t left = l.head_dim - c;
          const Floats unit = load(x + from + c, left) * scale, g = load(l.weight + h * l.head_dim + c, left);
          Floats dn = load(dy + to + c, left);
          if constexpr (kEpilogue == NormEpilogue::kSilu) dn = dn * silu_slope(unit * g);
          if constexpr (kEpilogue == NormEpilogue::kRotatedFeatures || kEpilogue == NormEpilogue::kRotated)
            dn = dn * load(l.cosines + token + c, left) + swap_pairs(dn * load(l.sines + token + c, left));
          if constexpr (kEpilogue == NormEpilogue::kRotatedFeatures) {
            if (dunrotated) dn += load(dunrotated + to + c, left);
            dn = unit * g > 0.0f ? dn : Floats{};
          }
          float* total = dweight + h * l.head_dim + c;
          store(load(total, left) + dn * unit, total, left);
          store(dn * g, scratch + h * l.head_dim + c, left);
          dots += dn * g * unit;
        }
      }
      const float mean = sum(dots) / static_cast<float>(heads * l.head_dim);
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t from = from_row + (norm + h) * l.x_head;
        for (int64_t c = 0; c < l.head_dim; c += kLanes) {
          const int64_t left = l.head_dim - c;
          const Floats unit = load(x + from + c, left) * scale;
          store((load(scratch + h * l.head_dim + c, left) - unit * mean) * scale, dx + from + c, left);
        }
      }
    }
  }
}

#define TESSERA_VARIANT(name, attribute)                                                                               \
  template <typename In, typename Out>                                                                                 \
  attribute void norm_##name(const NormRows& l, int64_t begin, int64_t end, const In* x, Out* y, float* unrotated,     \
                             float* scales) {                                                                          \
    switch (l.epilogue) {                                                                                              \
      case NormEpilogue::kNone:                                                                                        \
        return forward_rows<NormEpilogue::kNone>(l, begin, end, x, y, unrotated, scales);                              \
      case NormEpilogue::kSilu:                                                                                        \
        return forward_rows<NormEpilogue::kSilu>(l, begin, end, x, y, unrotated, scales);                              \
      case NormEpilogue::kRotatedFeatures:                                                                             \
        return forward_rows<NormEpilogue::kRotatedFeatures>(l, begin, end, x, y, unrotated, scales);                   \
      case NormEpilogue::kRotated:                                                                                     \
        return forward_rows<NormEpilogue::kRotated>(l, begin, end, x, y, unrotated, scales);                           \
    }                                                                                                                  \
  }                                                                                                                    \
  template <typename In, typename Out>                                                                                 \
  attribute void norm_backward_##name(const NormRows& l, int64_t begin, int64_t end, const In* x, const float* scales, \
                                      const Out* dy, const float* dunrotated, In* dx, float* dweight,                  \
                                      float* scratch) {                                                                \
    switch (l.epilogue) {                                                                                              \
      case NormEpilogue::kNone:                                                                                        \
        return backward_rows<NormEpilogue::kNone>(l, begin, end, x, scales, dy, dunrotated, dx, dweight, scratch);     \
      case NormEpilogue::kSilu:                                                                                        \
        return backward_rows<NormEpilogue::kSilu>(l, begin, end, x, scales, dy, dunrotated, dx, dweight, scratch);     \
      case NormEpilogue::kRotatedFeatures:                                                                             \
        return backward_rows<NormEpilogue::kRotatedFeatures>(l, begin, end, x, scales, dy, dunrotated, dx, dweight,    \
                                                             scratch);                                                 \
      case NormEpilogue::kRotated:                                                                                     \
        return backward_rows<NormEpilogue::kRotated>(l, begin, end, x, scales, dy, dunrotated, dx, dweight, scratch);  \
    }                                                                                                                  \
  }
TESSERA_EACH_VARIANT(TESSERA_VARIANT)

}  // namespace

template <typename In, typename Out>
void norm_rows(const NormRows& layout, int64_t begin, int64_t end, const In* x, Out* y, float* unrotated,
               float* scales) {
  TESSERA_DISPATCH(norm, layout, begin, end, x, y, unrotated, scales);
}

template <typename In, typename Out>
void norm_rows_backward(const NormRows& layout, int64_t begin, int64_t end, const In* x, const float* scales,
                        const Out* dy, const float* dunrotated, In* dx, float* dweight, float* scratch) {
  TESSERA_DISPATCH(norm_backward, layout, begin, end, x, scales, dy, dunrotated, dx, dweight, scratch);
}

#define TESSERA_INSTANTIATE(In, Out)                                                                       \
  template void norm_rows(const NormRows&, int64_t, int64_t, const In*, Out*, float*, float*);             \
  template void norm_rows_backward(const NormRows&, int64_t, int64_t, const In*, const float*, const Out*, \
                                   const float*, In*, float*, float*);
TESSERA_INSTANTIATE(float, float)
TESSERA_INSTANTIATE(float, Bfloat16Bits)
TESSERA_INSTANTIATE(Bfloat16Bits, float)
TESSERA_INSTANTIATE(Bfloat16Bits, Bfloat16Bits)

}  // namespace tessera
