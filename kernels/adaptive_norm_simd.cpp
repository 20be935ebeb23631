#include "kernels/adaptive_norm_simd.h"

#include <cmath>

#include "kernels/simd.h"

namespace tessera {
namespace {

using namespace simd;

template <typename Value>
TESSERA_INLINE void normalize(const AdaptiveRows& l, int64_t begin, int64_t end, const Value* x, Value* y) {
  const int64_t channels = l.channels;
  const float count = static_cast<float>(channels);
  for (int64_t row = begin; row < end; ++row) {
    const Value* from = x + row * channels;
    Value* to = y + row * channels;
    const int64_t sample = row / l.tokens * channels;
    Floats total{};
    for (int64_t c = 0; c < channels; c += kLanes) total += load(from + c, channels - c);
    const float mean = sum(total) / count;
    Floats squares{};
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      const Floats away = load(from + c, kLanes) - mean;
      squares += away * away;
    }
    for (Floats away{}; c < channels; ++c) {  // not the lanes beyond the row
      away[0] = load(from + c, 1)[0] - mean;
      squares += away * away;
    }
    const float scale = 1.0f / std::sqrt(sum(squares) / count + l.eps);
    for (c = 0; c < channels; c += kLanes) {
      const int64_t left = channels - c;
      const Floats v = (load(from + c, left) - mean) * scale;
      store(v * load(l.factor + sample + c, left) + load(l.offset + sample + c, left), to + c, left);
    }
  }
}

#define TESSERA_VARIANT(name, attribute)                                                                             \
  template <typename Value>                                                                                          \
  attribute void adaptive_norm_##name(const AdaptiveRows& l, int64_t begin, int64_t end, const Value* x, Value* y) { \
    normalize(l, begin, end, x, y);                                                                                  \
  }
TESSERA_EACH_VARIANT(TESSERA_VARIANT)

}  // namespace

template <typename Value>
void adaptive_norm_rows(const AdaptiveRows& rows, int64_t begin, int64_t end, const Value* x, Value* y) {
  TESSERA_DISPATCH(adaptive_norm, rows, begin, end, x, y);
}

template void adaptive_norm_rows(const AdaptiveRows&, int64_t, int64_t, const float*, float*);
template void adaptive_norm_rows(const AdaptiveRows&, int64_t, int64_t, const Bfloat16Bits*, Bfloat16Bits*);

}  // namespace tessera
