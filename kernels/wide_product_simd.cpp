#include "kernels/wide_product_simd.h"

#include <c10/util/Exception.h>

#include "kernels/instruction_set.h"
#include "kernels/lane_products.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 means its own intrinsics' undefined lanes
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#endif

namespace tessera {
namespace {

using namespace simd;

constexpr int64_t kPanel = 2 * kLanes;  // columns of a tile
constexpr int64_t kPanels = kWideColumns / kPanel;
constexpr int64_t kTile = 12;                 // rows of a tile
constexpr int64_t kInputs = 768;              // at a time: four panels of them take 384 KB of a cache
constexpr int64_t kPitch = kInputs + kLanes;  // of a row of a tile: not a multiple of 4 KB

}  // namespace

int64_t wide_scratch(int64_t rows, int64_t inputs) {
  const int64_t sums = inputs > kInputs ? rows : kTile;
  return kPanels * kInputs * kPanel + kTile * kPitch + sums * kWideColumns;
}

#if defined(__x86_64__)

namespace {

/// Sixteen rows become columns.
TESSERA_AVX512_CODE TESSERA_INLINE void transpose(__m512 (&v)[16]) {
  __m512 t[16];
  TESSERA_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  TESSERA_UNROLL
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
    const __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
    v[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    v[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    v[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    v[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  TESSERA_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512 a = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), b = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xdd);
    t[i] = _mm512_shuffle_f32x4(a, c, 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    t[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    t[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
  TESSERA_UNROLL
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

TESSERA_AVX512_CODE TESSERA_INLINE __m512 widen(const Bfloat16Bits* from, int64_t count) {
  const __mmask16 mask = count >= kLanes ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)), 16));
}

/// `count` inputs of `columns` (at most kPanel) rows of w as a panel [count, kPanel]; zeros in further columns.
TESSERA_AVX512_CODE void pack_panel(const Bfloat16Bits* w, int64_t inputs, int64_t count, int64_t columns,
                                    float* panel) {
  for (int64_t half = 0; half < kPanel; half += kLanes)
    for (int64_t k = 0; k < count; k += kLanes) {
      __m512 v[16];
      TESSERA_UNROLL
      for (int64_t i = 0; i < kLanes; ++i)
        v[i] = half + i < columns ? widen(w + (half + i) * inputs + k, count - k) : _mm512_setzero_ps();
      transpose(v);
      TESSERA_UNROLL
      for (int64_t i = 0; i < kLanes; ++i)
        if (i < count - k) _mm512_storeu_ps(panel + (k + i) * kPanel + half, v[i]);
    }
}

TESSERA_AVX512_CODE void widen_row(const Bfloat16Bits* x, int64_t count, float* to) {
  for (int64_t k = 0; k < count; k += kLanes) _mm512_storeu_ps(to + k, widen(x + k, count - k));
}

/// Adds the product of a tile x [kRows, kPitch] and a panel to sums (rows kWideColumns apart), or sets them.
template <int64_t kRows>
TESSERA_AVX512_CODE void tile(const float* x, const float* panel, int64_t count, bool add, float* sums) {
  __m512 left[kRows], right[kRows];
  TESSERA_UNROLL
  for (int64_t r = 0; r < kRows; ++r) {
    left[r] = add ? _mm512_loadu_ps(sums + r * kWideColumns) : _mm512_setzero_ps();
    right[r] = add ? _mm512_loadu_ps(sums + r * kWideColumns + kLanes) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < count; ++k, ++x, panel += kPanel) {
    const __m512 b_left = _mm512_loadu_ps(panel), b_right = _mm512_loadu_ps(panel + kLanes);
    TESSERA_UNROLL
    for (int64_t r = 0; r < kRows; ++r) {
      const __m512 a = _mm512_set1_ps(x[r * kPitch]);
      left[r] = _mm512_fmadd_ps(a, b_left, left[r]);
      right[r] = _mm512_fmadd_ps(a, b_right, right[r]);
    }
  }
  TESSERA_UNROLL
  for (int64_t r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(sums + r * kWideColumns, left[r]);
    _mm512_storeu_ps(sums + r * kWideColumns + kLanes, right[r]);
  }
}

template <int64_t kRows = kTile>
TESSERA_AVX512_CODE void tile_of(int64_t rows, const float* x, const float* panel, int64_t count, bool add,
                                 float* sums) {
  if constexpr (kRows > 1)
    if (rows < kRows) return tile_of<kRows - 1>(rows, x, panel, count, add, sums);
  tile<kRows>(x, panel, count, add, sums);
}

/// Bias, activation and rounding of a row's sums.
TESSERA_INLINE void finish(const WideProduct& p, const float* sums, int64_t row, int64_t first) {
  for (int64_t c = 0; c < kWideColumns && first + c < p.outputs; c += kLanes) {
    const int64_t left = p.outputs - first - c;
    Floats out = load(sums + c, kLanes);
    if (p.bias) out += load(p.bias + first + c, left);
    if (p.activation == Activation::kGelu) out *= gelu_gate(out);
    store(out, p.y + row * p.outputs + first + c, left);
  }
}

TESSERA_AVX512_CODE void product(const WideProduct& p, int64_t begin, int64_t end, int64_t first, float* scratch) {
  float *panels = scratch, *x = panels + kPanels * kInputs * kPanel, *all_sums = x + kTile * kPitch;
  const int64_t columns = std::min(kWideColumns, p.outputs - first);
  for (int64_t k = 0; k < p.inputs; k += kInputs) {
    const int64_t count = std::min(kInputs, p.inputs - k);
    for (int64_t c = 0; c < columns; c += kPanel)
      pack_panel(p.w + (first + c) * p.inputs + k, p.inputs, count, columns - c, panels + c * kInputs);
    for (int64_t row = begin; row < end; row += kTile) {
      const int64_t rows = std::min(kTile, end - row);
      float* sums = p.inputs > kInputs ? all_sums + (row - begin) * kWideColumns : all_sums;
      for (int64_t r = 0; r < rows; ++r) widen_row(p.x + (row + r) * p.inputs + k, count, x + r * kPitch);
      for (int64_t c = 0; c < columns; c += kPanel) tile_of(rows, x, panels + c * kInputs, count, k > 0, sums + c);
      if (k + count == p.inputs)
        for (int64_t r = 0; r < rows; ++r) finish(p, sums + r * kWideColumns, row + r, first);
    }
  }
}

}  // namespace

bool has_wide_product() {
  return instruction_set() >= InstructionSet::kAvx512;
}

void wide_product(const WideProduct& p, int64_t begin, int64_t end, int64_t first_output, float* scratch) {
  TORCH_CHECK(has_wide_product(), "wide_product needs AVX-512");
  product(p, begin, end, first_output, scratch);
}

bool bfloat16_is_slow() {
  static const bool slow =
      !__builtin_cpu_supports("avx512bf16") || !(has_tile_registers() || prefers_bfloat16_products());
  return slow;
}

#else

bool has_wide_product() {
  return false;
}

void wide_product(const WideProduct&, int64_t, int64_t, int64_t, float*) {
  TORCH_CHECK(false, "wide_product needs AVX-512");
}

bool bfloat16_is_slow() {
  return false;
}

#endif

}  // namespace tessera
