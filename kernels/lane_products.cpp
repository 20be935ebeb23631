#include "kernels/lane_products.h"

#include "kernels/avx512_bf16.h"

namespace tessera {

#if defined(__x86_64__)

bool prefers_bfloat16_products() {
  static const bool amd = __builtin_cpu_is("amd");
  return amd;
}

namespace {

// How sixteen sums grow by one step.
struct FloatStep {
  using Vector = __m512;
  TESSERA_AVX512_BF16_CODE static Vector columns(const float* from) { return _mm512_loadu_ps(from); }
  TESSERA_AVX512_BF16_CODE static Vector spread(const float* from) { return _mm512_set1_ps(*from); }
  TESSERA_AVX512_BF16_CODE static __m512 grow(__m512 sum, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, sum); }
};

struct PairStep {
  using Vector = __m512bh;
  TESSERA_AVX512_BF16_CODE static Vector columns(const Bfloat16Bits* from) {
    return reinterpret_cast<Vector>(_mm512_loadu_si512(from));
  }
  TESSERA_AVX512_BF16_CODE static Vector spread(const Bfloat16Bits* from) {
    int pair;
    std::memcpy(&pair, from, sizeof(pair));
    return reinterpret_cast<Vector>(_mm512_set1_epi32(pair));
  }
  TESSERA_AVX512_BF16_CODE static __m512 grow(__m512 sum, Vector a, Vector b) { return _mm512_dpbf16_ps(sum, a, b); }
};

template <typename Step, int kRows, int kVectors, typename Value>
TESSERA_AVX512_BF16_CODE void tile(const LaneProduct<Value>& m, int64_t row) {
  constexpr int64_t kVector = 16 * kLaneStep<Value>;
  const Value* a = m.a + row * m.a_row;
  const Value* b = m.b;
  float* c = m.c + row * m.c_row;
  __m512 sums[kRows][kVectors];
  TESSERA_UNROLL for (int r = 0; r < kRows; ++r) TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] =
      _mm512_setzero_ps();
  for (int64_t s = 0; s < m.steps; ++s, a += m.a_step, b += m.b_step) {
    typename Step::Vector columns[kVectors];
    TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) columns[v] = Step::columns(b + v * kVector);
    TESSERA_UNROLL for (int r = 0; r < kRows; ++r) {
      const typename Step::Vector value = Step::spread(a + r * m.a_row);
      TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = Step::grow(sums[r][v], value, columns[v]);
    }
  }
  TESSERA_UNROLL for (int r = 0; r < kRows; ++r) {
    const __m512 kept = _mm512_set1_ps(m.kept ? m.kept[row + r] : 0.0f);
    TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) {
      float* to = c + r * m.c_row + v * 16;
      if (m.kept) sums[r][v] = _mm512_fmadd_ps(_mm512_loadu_ps(to), kept, sums[r][v]);
      _mm512_storeu_ps(to, sums[r][v]);
    }
  }
}

template <typename Step, int kVectors, typename Value>
void rows_of_strip(const LaneProduct<Value>& m, int64_t rows) {
  int64_t row = 0;
  for (; row + kLaneRows <= rows; row += kLaneRows) tile<Step, kLaneRows, kVectors>(m, row);
  switch (rows - row) {
    case 5:
      return tile<Step, 5, kVectors>(m, row);
    case 4:
      return tile<Step, 4, kVectors>(m, row);
    case 3:
      return tile<Step, 3, kVectors>(m, row);
    case 2:
      return tile<Step, 2, kVectors>(m, row);
    case 1:
      return tile<Step, 1, kVectors>(m, row);
    default:
      return;
  }
}

template <typename Step, typename Value>
void strip(const LaneProduct<Value>& m, int64_t rows, int64_t columns) {
  switch (columns / 16) {
    case 4:
      return rows_of_strip<Step, 4>(m, rows);
    case 3:
      return rows_of_strip<Step, 3>(m, rows);
    case 2:
      return rows_of_strip<Step, 2>(m, rows);
    default:
      return rows_of_strip<Step, 1>(m, rows);
  }
}

TESSERA_AVX512_BF16_CODE void pack_strip(const uint16_t* first, const uint16_t* second, int64_t count, int64_t width,
                                         Bfloat16Bits* to) {
  for (int64_t c = 0; c < width; c += 16) {
    const __mmask16 valid = avx512::first_lanes(count - c);
    const __m256i low = _mm256_maskz_loadu_epi16(valid, first + c);
    const __m256i high = second ? _mm256_maskz_loadu_epi16(valid, second + c) : _mm256_setzero_si256();
    _mm512_storeu_si512(to + c * 2, avx512::interleave(low, high));
  }
}

TESSERA_AVX512_BF16_CODE void pack_strip(const uint16_t* first, const uint16_t*, int64_t count, int64_t width,
                                         float* to) {
  for (int64_t c = 0; c < width; c += 16)
    _mm512_storeu_ps(to + c, avx512::widen(avx512::first_lanes(count - c), first + c));
}

template <typename Value>
void pack_step(const uint16_t* first, const uint16_t* second, int64_t count, int64_t columns, int64_t step,
               int64_t steps, Value* b) {
  for (int64_t column = 0; column < columns; column += kLaneStrip) {
    const int64_t width = strip_width(column, columns);
    pack_strip(first + column, second ? second + column : nullptr, count - column, width,
               b + strip_offset<Value>(column, steps) + step * width * kLaneStep<Value>);
  }
}

}  // namespace

template <>
void multiply_lanes(const LaneProduct<float>& product, int64_t rows, int64_t columns) {
  strip<FloatStep>(product, rows, columns);
}
template <>
void multiply_lanes(const LaneProduct<Bfloat16Bits>& product, int64_t rows, int64_t columns) {
  strip<PairStep>(product, rows, columns);
}

void pack_lanes(const uint16_t* first, const uint16_t* second, int64_t count, int64_t columns, int64_t step,
                int64_t steps, Bfloat16Bits* b) {
  pack_step(first, second, count, columns, step, steps, b);
}
void pack_lanes(const uint16_t* first, const uint16_t* second, int64_t count, int64_t columns, int64_t step,
                int64_t steps, float* b) {
  pack_step(first, second, count, columns, step, steps, b);
}

void clear_lanes(int64_t columns, int64_t first, int64_t steps, Bfloat16Bits* b) {
  for (int64_t column = 0; column < columns; column += kLaneStrip) {
    const int64_t row = strip_width(column, columns) * kLaneStep<Bfloat16Bits>;
    std::fill_n(b + strip_offset<Bfloat16Bits>(column, steps) + first * row, (steps - first) * row, Bfloat16Bits{0});
  }
}

#else

bool prefers_bfloat16_products() {
  return false;
}

#endif

}  // namespace tessera
