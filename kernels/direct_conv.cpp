#include "kernels/direct_conv.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>

#include "kernels/direct_conv_tiles.h"
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

uint16_t round_to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

int64_t direct_block(int64_t left) {
  const int64_t vectors = left / 16;
  return 16 * (vectors == 5 || vectors == 6 ? 3 : std::min<int64_t>(vectors, 4));
}

int64_t packed_weight_count(int64_t rows, int64_t run, int64_t channels) {
  return rows * run * channels;
}

namespace {

/// With `group` neighboring inputs of a channel side by side.
template <class Value, class Convert>
void pack_groups(const float* weights, int64_t values, int64_t channels, int64_t group, Value* packed,
                 const Convert& convert) {
  for (int64_t first = 0; first < channels;) {
    const int64_t width = direct_block(channels - first);
    for (int64_t k = 0; k < values; k += group)
      for (int64_t channel = first; channel < first + width; ++channel)
        for (int64_t i = 0; i < group; ++i) *packed++ = convert(weights[channel * values + k + i]);
    first += width;
  }
}

}  // namespace

void pack_direct_weights(DirectType type, const float* weights, int64_t rows, int64_t run, int64_t channels,
                         void* packed) {
  if (type == DirectType::kFloat)
    pack_groups(weights, rows * run, channels, 1, static_cast<float*>(packed), [](float value) { return value; });
  else  // one instruction multiplies pairs
    pack_groups(weights, rows * run, channels, 2, static_cast<uint16_t*>(packed), round_to_bfloat16);
}

#if defined(__x86_64__)

bool has_direct_conv(DirectType type) {
  return instruction_set() >= (type == DirectType::kFloat ? InstructionSet::kAvx512 : InstructionSet::kAvx512Bf16);
}

namespace {

// The two number types differ in how 16 sums grow by one step and in how 16 results are stored; the loops are the
// same. A template cannot take its instruction set from an argument, so the loops are written once as macros' bodies.
struct FloatLanes {
  using Value = float;
  static constexpr int64_t kStep = 1;
  using Vector = __m512;
  TESSERA_AVX512_CODE static Vector weights(const Value* from) { return _mm512_loadu_ps(from); }
  TESSERA_AVX512_CODE static Vector spread(const Value* from) { return _mm512_set1_ps(*from); }
  TESSERA_AVX512_CODE static __m512 grow(__m512 sum, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, sum); }
  TESSERA_AVX512_CODE static void put(Value* to, __m512 value) { _mm512_storeu_ps(to, value); }
};

struct Bfloat16Lanes {
  using Value = uint16_t;
  static constexpr int64_t kStep = 2;
  using Vector = __m512bh;
  TESSERA_AVX512_BF16_CODE static Vector weights(const Value* from) {
    return reinterpret_cast<Vector>(_mm512_loadu_si512(from));
  }
  TESSERA_AVX512_BF16_CODE static Vector spread(const Value* from) {
    int pair;
    std::memcpy(&pair, from, sizeof(pair));
    return reinterpret_cast<Vector>(_mm512_set1_epi32(pair));
  }
  TESSERA_AVX512_BF16_CODE static __m512 grow(__m512 sum, Vector a, Vector b) { return _mm512_dpbf16_ps(sum, a, b); }
  TESSERA_AVX512_BF16_CODE static void put(Value* to, __m512 value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
  }
};

#define TESSERA_DIRECT_KERNELS(LANES, CODE)                                                                           \
  template <int kPixels, int kVectors>                                                                                \
  CODE void tile_##LANES(const DirectConv& conv, const LANES::Value* from, const LANES::Value* weights,               \
                         const float* bias, int64_t pixel, int64_t channel, void* to) {                               \
    const LANES::Value* taps[kPixels];                                                                                \
    TESSERA_UNROLL for (int p = 0; p < kPixels; ++p) taps[p] = from + conv.from[static_cast<size_t>(pixel + p)];      \
    __m512 sums[kPixels][kVectors];                                                                                   \
    TESSERA_UNROLL for (int p = 0; p < kPixels; ++p) TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) sums[p][v] =   \
        _mm512_setzero_ps();                                                                                          \
    for (int64_t row = 0; row < conv.rows; ++row) {                                                                   \
      TESSERA_UNROLL_BY_2 for (int64_t k = 0; k < conv.run; k += LANES::kStep) {                                      \
        LANES::Vector b[kVectors];                                                                                    \
        TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) b[v] = LANES::weights(weights + v * 16 * LANES::kStep);     \
        weights += kVectors * 16 * LANES::kStep;                                                                      \
        TESSERA_UNROLL for (int p = 0; p < kPixels; ++p) {                                                            \
          const LANES::Vector a = LANES::spread(taps[p] + k);                                                         \
          TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) sums[p][v] = LANES::grow(sums[p][v], a, b[v]);            \
        }                                                                                                             \
      }                                                                                                               \
      TESSERA_UNROLL for (int p = 0; p < kPixels; ++p) taps[p] += conv.row_pitch;                                     \
    }                                                                                                                 \
    TESSERA_UNROLL for (int p = 0; p < kPixels; ++p) {                                                                \
      const int64_t at = conv.to[static_cast<size_t>(pixel + p)] + channel;                                           \
      TESSERA_UNROLL for (int v = 0; v < kVectors; ++v) {                                                             \
        if (conv.store == DirectStore::kRawFloat) {                                                                   \
          _mm512_storeu_ps(static_cast<float*>(to) + at + v * 16, sums[p][v]);                                        \
          continue;                                                                                                   \
        }                                                                                                             \
        const __m512 value =                                                                                          \
            _mm512_max_ps(_mm512_add_ps(sums[p][v], _mm512_loadu_ps(bias + v * 16)), _mm512_setzero_ps());            \
        if (conv.store == DirectStore::kReluFloat)                                                                    \
          _mm512_storeu_ps(static_cast<float*>(to) + at + v * 16, value);                                             \
        else                                                                                                          \
          LANES::put(static_cast<LANES::Value*>(to) + at + v * 16, value);                                            \
      }                                                                                                               \
    }                                                                                                                 \
  }                                                                                                                   \
                                                                                                                      \
  template <int kPixels, int kVectors>                                                                                \
  void block_##LANES(const DirectConv& conv, const LANES::Value* from, const LANES::Value* weights, int64_t channel,  \
                     void* to) {                                                                                      \
    const int64_t pixels = static_cast<int64_t>(conv.from.size());                                                    \
    const float* bias = conv.bias ? conv.bias + channel : nullptr;                                                    \
    int64_t pixel = 0;                                                                                                \
    for (; pixel + kPixels <= pixels; pixel += kPixels)                                                               \
      tile_##LANES<kPixels, kVectors>(conv, from, weights, bias, pixel, channel, to);                                 \
    for (; pixel + 4 <= pixels; pixel += 4) tile_##LANES<4, kVectors>(conv, from, weights, bias, pixel, channel, to); \
    for (; pixel + 2 <= pixels; pixel += 2) tile_##LANES<2, kVectors>(conv, from, weights, bias, pixel, channel, to); \
    for (; pixel < pixels; ++pixel) tile_##LANES<1, kVectors>(conv, from, weights, bias, pixel, channel, to);         \
  }                                                                                                                   \
                                                                                                                      \
  void conv_##LANES(const DirectConv& conv, const LANES::Value* from, void* to) {                                     \
    const auto* weights = static_cast<const LANES::Value*>(conv.weights);                                             \
    for (int64_t channel = 0; channel < conv.channels;) {                                                             \
      const int64_t vectors = direct_block(conv.channels - channel) / 16;                                             \
      if (vectors == 4)                                                                                               \
        block_##LANES<6, 4>(conv, from, weights, channel, to);                                                        \
      else if (vectors == 3)                                                                                          \
        block_##LANES<8, 3>(conv, from, weights, channel, to);                                                        \
      else if (vectors == 2)                                                                                          \
        block_##LANES<10, 2>(conv, from, weights, channel, to);                                                       \
      else                                                                                                            \
        block_##LANES<8, 1>(conv, from, weights, channel, to);                                                        \
      weights += conv.rows * conv.run * vectors * 16;                                                                 \
      channel += vectors * 16;                                                                                        \
    }                                                                                                                 \
  }

TESSERA_DIRECT_KERNELS(FloatLanes, TESSERA_AVX512_CODE)
TESSERA_DIRECT_KERNELS(Bfloat16Lanes, TESSERA_AVX512_BF16_CODE)

TESSERA_AVX512_CODE void max_pool_float(const DirectPool& pool, const float* from, float* to) {
  for (size_t pixel = 0; pixel < pool.from.size(); ++pixel) {
    const float* window = from + pool.from[pixel];
    for (int64_t channel = 0; channel < pool.channels; channel += 16) {
      __m512 best = _mm512_setzero_ps();
      for (int64_t row = 0; row < 3; ++row)
        for (int64_t column = 0; column < 3; ++column)
          best = _mm512_max_ps(best, _mm512_loadu_ps(window + row * pool.row_pitch + column * pool.channels + channel));
      _mm512_storeu_ps(to + pool.to[pixel] + channel, best);
    }
  }
}

// The bits of numbers that are not negative are ordered as the numbers are.
TESSERA_AVX512_CODE void max_pool_bfloat16(const DirectPool& pool, const uint16_t* from, uint16_t* to) {
  for (size_t pixel = 0; pixel < pool.from.size(); ++pixel) {
    const uint16_t* window = from + pool.from[pixel];
    for (int64_t channel = 0; channel < pool.channels; channel += 16) {
      __m256i best = _mm256_setzero_si256();
      for (int64_t row = 0; row < 3; ++row)
        for (int64_t column = 0; column < 3; ++column)
          best = _mm256_max_epu16(best, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(
                                            window + row * pool.row_pitch + column * pool.channels + channel)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + pool.to[pixel] + channel), best);
    }
  }
}

TESSERA_AVX512_CODE __m512 window_mean(const DirectPool& pool, const float* from, size_t pixel, int64_t channel) {
  const float* window = from + pool.from[pixel] + channel;
  __m512 sum = _mm512_setzero_ps();
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t column = 0; column < 3; ++column)
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(window + row * pool.row_pitch + column * pool.channels));
  const __m512 mean = _mm512_mul_ps(sum, _mm512_set1_ps(pool.scale[pixel]));
  return _mm512_max_ps(_mm512_add_ps(mean, _mm512_loadu_ps(pool.bias + channel)), _mm512_setzero_ps());
}

TESSERA_AVX512_CODE void average_pool_float(const DirectPool& pool, const float* from, float* to) {
  for (size_t pixel = 0; pixel < pool.from.size(); ++pixel)
    for (int64_t channel = 0; channel < pool.channels; channel += 16)
      FloatLanes::put(to + pool.to[pixel] + channel, window_mean(pool, from, pixel, channel));
}

TESSERA_AVX512_BF16_CODE void average_pool_bfloat16(const DirectPool& pool, const float* from, uint16_t* to) {
  for (size_t pixel = 0; pixel < pool.from.size(); ++pixel)
    for (int64_t channel = 0; channel < pool.channels; channel += 16)
      Bfloat16Lanes::put(to + pool.to[pixel] + channel, window_mean(pool, from, pixel, channel));
}

/// Sixteen pixels at a time; the last ones may be written twice.
TESSERA_AVX512_BF16_CODE void input_bfloat16(const float* planes, int64_t pixels, float scale, float shift,
                                             uint16_t* to) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  for (int64_t block = 0; block < pixels; block += 16) {
    const int64_t pixel = std::min(block, pixels - 16);
    __m512i colors[3];
    TESSERA_UNROLL for (int i = 0; i < 3; ++i) {
      const __m512 x = _mm512_loadu_ps(planes + i * pixels + pixel);
      const __m512 value = _mm512_fmadd_ps(x, _mm512_set1_ps(scale), _mm512_set1_ps(shift));
      colors[i] = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
    }
    const __m512i pairs = _mm512_or_si512(colors[0], _mm512_slli_epi32(colors[1], 16));
    _mm512_storeu_si512(to + pixel * 4, _mm512_permutex2var_epi32(pairs, low, colors[2]));
    _mm512_storeu_si512(to + pixel * 4 + 32, _mm512_permutex2var_epi32(pairs, high, colors[2]));
  }
}

}  // namespace

void direct_input(DirectType type, const float* planes, int64_t height, int64_t width, float scale, float shift,
                  void* to) {
  const int64_t pixels = height * width;
  if (type == DirectType::kBfloat16) return input_bfloat16(planes, pixels, scale, shift, static_cast<uint16_t*>(to));
  for (int64_t pixel = 0; pixel < pixels; ++pixel)
    for (int64_t channel = 0; channel < 4; ++channel)
      static_cast<float*>(to)[pixel * 4 + channel] = channel < 3 ? planes[channel * pixels + pixel] * scale + shift : 0;
}

void direct_conv(DirectType type, const DirectConv& conv, const void* from, void* to) {
  TORCH_CHECK(has_direct_conv(type), "direct_conv: this machine lacks the instructions");
  if (type == DirectType::kFloat)
    conv_FloatLanes(conv, static_cast<const float*>(from), to);
  else if (can_convolve_in_tiles(conv))
    convolve_in_tiles(conv, static_cast<const uint16_t*>(from), static_cast<float*>(to));
  else
    conv_Bfloat16Lanes(conv, static_cast<const uint16_t*>(from), to);
}

void direct_max_pool(DirectType type, const DirectPool& pool, const void* from, void* to) {
  if (type == DirectType::kFloat)
    max_pool_float(pool, static_cast<const float*>(from), static_cast<float*>(to));
  else
    max_pool_bfloat16(pool, static_cast<const uint16_t*>(from), static_cast<uint16_t*>(to));
}

void direct_average_pool(DirectType type, const DirectPool& pool, const float* from, void* to, bool to_float) {
  if (type == DirectType::kFloat || to_float)
    average_pool_float(pool, from, static_cast<float*>(to));
  else
    average_pool_bfloat16(pool, from, static_cast<uint16_t*>(to));
}

#else

bool has_direct_conv(DirectType) {
  return false;
}
void direct_conv(DirectType, const DirectConv&, const void*, void*) {
  TORCH_CHECK(false, "direct_conv: this machine lacks the instructions");
}
void direct_max_pool(DirectType, const DirectPool&, const void*, void*) {}
void direct_average_pool(DirectType, const DirectPool&, const float*, void*, bool) {}
void direct_input(DirectType, const float*, int64_t, int64_t, float, float, void*) {}

#endif

void direct_sum(DirectType type, const int32_t* from, int64_t count, int64_t channels, const void* source,
                float* sums) {
  for (int64_t i = 0; i < count; ++i)
    for (int64_t channel = 0; channel < channels; channel += simd::kLanes) {
      const int64_t at = from[i] + channel;
      const simd::Floats value = type == DirectType::kFloat
                                     ? simd::load(static_cast<const float*>(source) + at, simd::kLanes)
                                     : simd::load(static_cast<const Bfloat16Bits*>(source) + at, simd::kLanes);
      simd::store(simd::load(sums + channel, simd::kLanes) + value, sums + channel, simd::kLanes);
    }
}

}  // namespace tessera
