#pragma once

#include "kernels/simd.h"

// Small steps of kernels that are written in AVX-512's own intrinsics, for functions marked TESSERA_AVX512_BF16_CODE.
// Include in kernel .cpp files only.
#if defined(__x86_64__)
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 means its own intrinsics' undefined lanes
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace tessera::avx512 {

/// The mask of the first `count` of 16 lanes; `count` may be negative or exceed 16.
inline __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>((1U << std::clamp<int64_t>(count, 0, 16)) - 1);
}

/// Pairs of the lanes of two vectors of 16-bit values, `low` first.
TESSERA_AVX512_BF16_CODE inline __m512i interleave(__m256i low, __m256i high) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

/// The lanes of `valid` as float32, zeros elsewhere.
TESSERA_AVX512_BF16_CODE inline __m512 widen(__mmask16 valid, const uint16_t* from) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, from)), 16));
}

/// Rounded to nearest even; denormal numbers become zero.
TESSERA_AVX512_BF16_CODE inline __m256i narrow(__m512 value) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value));
}

/// Sixteen values stored as float32 or rounded to bfloat16.
TESSERA_AVX512_BF16_CODE inline void store(__m512 value, float* to) {
  _mm512_storeu_ps(to, value);
}
TESSERA_AVX512_BF16_CODE inline void store(__m512 value, Bfloat16Bits* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), narrow(value));
}

/// 2^x: x reduced to |f| <= 1/2 and a polynomial of degree 5 (error 3e-6, a hundredth of bfloat16's rounding). -inf
/// gives 0, NaN gives NaN.
TESSERA_AVX512_BF16_CODE inline __m512 exp2(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, 0);  // x - round(x), 0 for an infinity
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(1.33335581e-3f), f, _mm512_set1_ps(9.61812911e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55041087e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40226507e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147181e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, _mm512_sub_ps(x, f));
}

/// 1 / (1 + e^-x), to 6e-6; division takes as long as all the rest.
TESSERA_AVX512_BF16_CODE inline __m512 sigmoid(__m512 x) {
  const __m512 power = _mm512_min_ps(_mm512_set1_ps(120.0f), _mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)));
  const __m512 y = _mm512_add_ps(_mm512_set1_ps(1.0f), exp2(power));
  const __m512 guess = _mm512_rcp14_ps(y);
  return _mm512_mul_ps(guess, _mm512_fnmadd_ps(y, guess, _mm512_set1_ps(2.0f)));
}

}  // namespace tessera::avx512
#endif
