#include "kernels/block_steps.h"

#include <cmath>

#include "kernels/avx512_bf16.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

using avx512::first_lanes;

constexpr float kFeatureEps = 1e-6f;

constexpr int64_t kPrefetched = 4;  // tokens ahead: rows of a block lie far apart, which the processor cannot foresee

/// One head of one token.
struct HeadOfToken {
  const uint16_t* x;
  float scale;
  const float *weight, *rotation;  // null: 1, no rotation

  HeadOfToken(const FeatureRows& rows, int64_t sample, int64_t head, int64_t token)
      : x(rows.data + sample * rows.sample + token * rows.token + head * rows.head_dim),
        scale(rows.scales ? rows.scales[sample * rows.tokens + token] : 1.0f),
        weight(rows.weight ? rows.weight + head * rows.head_dim : nullptr),
        rotation(rows.rotation ? rows.rotation + token * rows.head_dim : nullptr) {}
};

/// Sixteen features; a NaN stays one.
TESSERA_AVX512_BF16_CODE inline __m512 feature(const HeadOfToken& at, int64_t c, __mmask16 valid) {
  __m512 x = _mm512_mul_ps(avx512::widen(valid, at.x + c), _mm512_set1_ps(at.scale));
  if (at.weight) x = _mm512_mul_ps(x, _mm512_maskz_loadu_ps(valid, at.weight + c));
  return _mm512_maskz_add_ps(valid, _mm512_max_ps(_mm512_setzero_ps(), x), _mm512_set1_ps(kFeatureEps));
}

TESSERA_AVX512_BF16_CODE inline __m512 rotated(const HeadOfToken& at, int64_t c, __mmask16 valid, __m512 x) {
  if (!at.rotation) return x;
  const __m512 turn = _mm512_maskz_loadu_ps(valid, at.rotation + c);
  const __m512 crossed = _mm512_mul_ps(_mm512_permute_ps(x, 0xB1), _mm512_movehdup_ps(turn));  // partner * sine
  return _mm512_fmaddsub_ps(x, _mm512_moveldup_ps(turn), crossed);
}

TESSERA_AVX512_BF16_CODE float scale_of_row(const uint16_t* x, int64_t channels, double eps) {
  __m512 squares = _mm512_setzero_ps();
  for (int64_t c = 0; c < channels; c += 16) {
    const __m512 v = avx512::widen(first_lanes(channels - c), x + c);
    squares = _mm512_fmadd_ps(v, v, squares);
  }
  const float mean = _mm512_reduce_add_ps(squares) / static_cast<float>(channels);
  return 1.0f / std::sqrt(mean + static_cast<float>(eps));
}

TESSERA_AVX512_BF16_CODE inline void grow(float* sums, __m512 more) {
  _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), more));
}

template <typename Value>
TESSERA_AVX512_BF16_CODE void key_row(const HeadOfToken& at, int64_t head_dim, int64_t width, Value* to, float* sums) {
  for (int64_t c = 0; c < width; c += 16) {
    const __mmask16 valid = first_lanes(head_dim - c);
    const __m512 x = feature(at, c, valid);
    grow(sums + c, x);
    avx512::store(rotated(at, c, valid, x), to + c);
  }
}

TESSERA_AVX512_BF16_CODE void key_pair(const HeadOfToken& even, const HeadOfToken* odd, int64_t head_dim, int64_t width,
                                       Bfloat16Bits* to, float* sums) {
  for (int64_t c = 0; c < width; c += 16) {
    const __mmask16 valid = first_lanes(head_dim - c);
    const __m512 first = feature(even, c, valid);
    const __m512 second = odd ? feature(*odd, c, valid) : _mm512_setzero_ps();
    grow(sums + c, _mm512_add_ps(first, second));
    const __m256i low = avx512::narrow(rotated(even, c, valid, first));
    const __m256i high = odd ? avx512::narrow(rotated(*odd, c, valid, second)) : _mm256_setzero_si256();
    _mm512_storeu_si512(to + c * 2, avx512::interleave(low, high));
  }
}

template <typename Value>
TESSERA_AVX512_BF16_CODE float query_row(const HeadOfToken& at, int64_t head_dim, int64_t width, Value* to,
                                         const float* key_sums) {
  __m512 dots = _mm512_setzero_ps();
  for (int64_t c = 0; c < width; c += 16) {
    const __mmask16 valid = first_lanes(head_dim - c);
    const __m512 x = feature(at, c, valid);
    if (key_sums) dots = _mm512_fmadd_ps(x, _mm512_loadu_ps(key_sums + c), dots);
    if (to) avx512::store(rotated(at, c, valid, x), to + c);
  }
  return _mm512_reduce_add_ps(dots);
}

template <int kRows, int kVectors>
TESSERA_AVX512_BF16_CODE void mix_tile(const float* mixing, int64_t blocks, const float* from, MixStore store,
                                       uint32_t* to, int64_t to_block) {
  __m512 sums[kRows][kVectors];
  TESSERA_UNROLL for (int r = 0; r < kRows; ++r) TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] =
      _mm512_setzero_ps();
  for (int64_t j = 0; j < blocks; ++j, from += 16 * kVectors) {
    __m512 columns[kVectors];
    TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) columns[v] = _mm512_loadu_ps(from + v * 16);
    TESSERA_UNROLL for (int r = 0; r < kRows; ++r) {
      const __m512 share = _mm512_set1_ps(mixing[r * blocks + j]);
      TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_fmadd_ps(share, columns[v], sums[r][v]);
    }
  }
  TESSERA_UNROLL for (int r = 0; r < kRows; ++r) TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) {
    uint32_t* place = to + r * to_block + v * 16;
    if (store == MixStore::kFloat) {
      _mm512_storeu_ps(place, sums[r][v]);
    } else {
      const __m512i half = _mm512_cvtepu16_epi32(avx512::narrow(sums[r][v]));
      _mm512_storeu_si512(place, store == MixStore::kFirst
                                     ? half
                                     : _mm512_or_si512(_mm512_loadu_si512(place), _mm512_slli_epi32(half, 16)));
    }
  }
}

template <int kVectors>
void mix_columns(const float* mixing, int64_t blocks, const float* from, MixStore store, uint32_t* to,
                 int64_t to_block) {
  int64_t i = 0;
  const auto tile = [&](auto rows) {
    mix_tile<decltype(rows)::value, kVectors>(mixing + i * blocks, blocks, from, store, to + i * to_block, to_block);
    i += decltype(rows)::value;
  };
  while (i + 6 <= blocks) tile(std::integral_constant<int, 6>());
  while (i + 3 <= blocks) tile(std::integral_constant<int, 3>());
  while (i < blocks) tile(std::integral_constant<int, 1>());
}

TESSERA_AVX512_BF16_CODE void transpose(const uint32_t* from, int64_t from_row, uint32_t* to) {
  __m512i rows[16], turned[16];
  TESSERA_UNROLL for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(from + i * from_row);
  TESSERA_UNROLL for (int i = 0; i < 16; i += 2) {
    turned[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    turned[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  TESSERA_UNROLL for (int i = 0; i < 16; i += 4) TESSERA_UNROLL for (int j = 0; j < 2; ++j) {
    rows[i + 2 * j] = _mm512_unpacklo_epi64(turned[i + j], turned[i + j + 2]);
    rows[i + 2 * j + 1] = _mm512_unpackhi_epi64(turned[i + j], turned[i + j + 2]);
  }
  // rows[i + j]: of four rows from i on, columns j, j + 4, j + 8 and j + 12.
  TESSERA_UNROLL for (int j = 0; j < 4; ++j) {
    const __m512i low = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0x88);
    const __m512i high = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0xDD);
    const __m512i next_low = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0x88);
    const __m512i next_high = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0xDD);
    _mm512_storeu_si512(to + j * 16, _mm512_shuffle_i32x4(low, next_low, 0x88));
    _mm512_storeu_si512(to + (j + 4) * 16, _mm512_shuffle_i32x4(high, next_high, 0x88));
    _mm512_storeu_si512(to + (j + 8) * 16, _mm512_shuffle_i32x4(low, next_low, 0xDD));
    _mm512_storeu_si512(to + (j + 12) * 16, _mm512_shuffle_i32x4(high, next_high, 0xDD));
  }
}

TESSERA_AVX512_BF16_CODE void pair_rows(const float* first, const float* second, int64_t width, Bfloat16Bits* to) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  for (int64_t c = 0; c < width; c += 16, to += 64) {
    const __m512 a = _mm512_loadu_ps(first + c), below_a = _mm512_loadu_ps(first + width + c);
    const __m512 b = _mm512_loadu_ps(second + c), below_b = _mm512_loadu_ps(second + width + c);
    _mm512_storeu_si512(to, avx512::interleave(avx512::narrow(_mm512_permutex2var_ps(a, low, below_a)),
                                               avx512::narrow(_mm512_permutex2var_ps(b, low, below_b))));
    _mm512_storeu_si512(to + 32, avx512::interleave(avx512::narrow(_mm512_permutex2var_ps(a, high, below_a)),
                                                    avx512::narrow(_mm512_permutex2var_ps(b, high, below_b))));
  }
}

TESSERA_AVX512_BF16_CODE void narrow_32(const float* from, Bfloat16Bits* to) {
  _mm512_storeu_si512(
      to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from))));
}

TESSERA_AVX512_BF16_CODE void scale_32(const float* from, const float* weights, Bfloat16Bits* to) {
  const __m512 low = _mm512_mul_ps(_mm512_loadu_ps(from), _mm512_loadu_ps(weights));
  const __m512 high = _mm512_mul_ps(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(weights + 16));
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

TESSERA_AVX512_BF16_CODE void finish(const float* x, float divisor, const float* weight, float eps,
                                     const uint16_t* gate, int64_t head_dim, uint16_t* to) {
  float scale = 1.0f / divisor;
  if (weight) {
    __m512 squares = _mm512_setzero_ps();
    for (int64_t c = 0; c < head_dim; c += 16) {
      const __m512 y = _mm512_mul_ps(_mm512_loadu_ps(x + c), _mm512_set1_ps(scale));
      squares = _mm512_fmadd_ps(y, y, squares);
    }
    scale /= std::sqrt(_mm512_reduce_add_ps(squares) / static_cast<float>(head_dim) + eps);
  }
  for (int64_t c = 0; c < head_dim; c += 16) {
    const __mmask16 valid = first_lanes(head_dim - c);
    __m512 y = _mm512_mul_ps(_mm512_loadu_ps(x + c), _mm512_set1_ps(scale));
    if (weight) y = _mm512_mul_ps(y, _mm512_maskz_loadu_ps(valid, weight + c));
    if (gate) {
      const __m512 g = avx512::widen(valid, gate + c);
      y = _mm512_mul_ps(y, _mm512_mul_ps(g, avx512::sigmoid(g)));
    }
    _mm256_mask_storeu_epi16(to + c, valid, avx512::narrow(y));
  }
}

}  // namespace

void prefetch(const void* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + i);
}

void prefetch_row(const FeatureRows& rows, int64_t sample, int64_t head, int64_t token) {
  const HeadOfToken at(rows, sample, head, token);
  prefetch(at.x, rows.head_dim * 2);
  if (at.rotation) prefetch(at.rotation, rows.head_dim * 4);
}

void scale_rows(const FeatureRows& rows, double eps, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row)
    rows.scales[row] =
        scale_of_row(rows.data + row / rows.tokens * rows.sample + row % rows.tokens * rows.token, rows.channels, eps);
}

template <>
void key_step(const FeatureRows& rows, int64_t sample, int64_t head, int64_t first, int64_t, float* to, float* sums) {
  key_row({rows, sample, head, first}, rows.head_dim, rows.width, to, sums);
}

template <>
void key_step(const FeatureRows& rows, int64_t sample, int64_t head, int64_t first, int64_t second, Bfloat16Bits* to,
              float* sums) {
  const HeadOfToken odd(rows, sample, head, std::max<int64_t>(second, 0));
  key_pair({rows, sample, head, first}, second < 0 ? nullptr : &odd, rows.head_dim, rows.width, to, sums);
}

void key_features(const FeatureRows& rows, int64_t sample, int64_t head, const int32_t* tokens, int64_t count,
                  Bfloat16Bits* to, float* sums) {
  for (int64_t i = 0; i < count; ++i) {
    if (i + kPrefetched < count) prefetch_row(rows, sample, head, tokens[i + kPrefetched]);
    key_row({rows, sample, head, tokens[i]}, rows.head_dim, rows.width, to + i * rows.width, sums);
  }
}

template <typename Value>
void query_features(const FeatureRows& rows, int64_t sample, int64_t head, const int32_t* tokens, int64_t count,
                    Value* to, const float* key_sums, float* products) {
  for (int64_t i = 0; i < count; ++i) {
    if (i + kPrefetched < count) prefetch_row(rows, sample, head, tokens[i + kPrefetched]);
    const float product = query_row({rows, sample, head, tokens[i]}, rows.head_dim, rows.width,
                                    to ? to + i * rows.width : nullptr, key_sums);
    if (key_sums) products[i] = product;
  }
}
template void query_features(const FeatureRows&, int64_t, int64_t, const int32_t*, int64_t, float*, const float*,
                             float*);
template void query_features(const FeatureRows&, int64_t, int64_t, const int32_t*, int64_t, Bfloat16Bits*, const float*,
                             float*);

void mix_rows(const float* mixing, int64_t blocks, const float* from, int64_t columns, MixStore store, void* to,
              int64_t to_block) {
  auto* words = static_cast<uint32_t*>(to);
  switch (columns / 16) {
    case 4:
      return mix_columns<4>(mixing, blocks, from, store, words, to_block);
    case 3:
      return mix_columns<3>(mixing, blocks, from, store, words, to_block);
    case 2:
      return mix_columns<2>(mixing, blocks, from, store, words, to_block);
    default:
      return mix_columns<1>(mixing, blocks, from, store, words, to_block);
  }
}

void transpose_pairs(const Bfloat16Bits* from, int64_t from_row, Bfloat16Bits* to) {
  transpose(reinterpret_cast<const uint32_t*>(from), from_row / 2, reinterpret_cast<uint32_t*>(to));
}

void pair_summaries(const float* first, const float* second, int64_t width, Bfloat16Bits* to, int64_t to_rows) {
  for (int64_t row = 0; row < width; row += 2, to += to_rows)
    pair_rows(first + row * width, second + row * width, width, to);
}

void narrow_rows(const float* from, int64_t rows, Bfloat16Bits* to, int64_t to_row) {
  for (int64_t row = 0; row < rows; ++row) narrow_32(from + row * 32, to + row * to_row);
}

void scale_and_narrow(const float* from, const float* weights, Bfloat16Bits* to) {
  scale_32(from, weights, to);
}

void finish_row(const float* x, float divisor, const float* weight, float eps, const uint16_t* gate, int64_t head_dim,
                uint16_t* to) {
  finish(x, divisor, weight, eps, gate, head_dim, to);
}

#endif

}  // namespace tessera
