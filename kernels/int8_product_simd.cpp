#include "kernels/int8_product_simd.h"

#include <limits>

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

constexpr int64_t kInt8Tile = 12;                         // rows of a tile without tile registers
constexpr int64_t kGroupBytes = kInt8Panel * kInt8Group;  // of a panel
constexpr float kLargestCode = 127.0f;
constexpr int32_t kOffset = 128;            // of a weight's code
constexpr float kRound = 12582912.0f;       // 1.5 * 2^23: adding it rounds to a whole number
constexpr int32_t kRoundBits = 0x4b400000;  // its bits

using Bytes = int8_t __attribute__((vector_size(kLanes)));
using Groups = uint32_t __attribute__((vector_size(kLanes)));

TESSERA_INLINE void put_group(uint32_t group, uint8_t* to) {
  std::memcpy(to, &group, sizeof(group));
}

TESSERA_INLINE int32_t largest_of(Ints value) {
  int32_t lanes[kLanes], largest = 0;
  std::memcpy(lanes, &value, sizeof(lanes));
  for (const int32_t lane : lanes) largest = std::max(largest, lane);
  return largest;
}

TESSERA_INLINE int32_t sum_of(Words value) {
  uint32_t lanes[kLanes], total = 0;
  std::memcpy(lanes, &value, sizeof(lanes));
  for (const uint32_t lane : lanes) total += lane;
  return static_cast<int32_t>(total);
}

/// The largest magnitude of a row; NaN where it has one, whose bits as a whole number exceed infinity's.
template <typename Value>
TESSERA_INLINE float largest_magnitude(const Value* x, int64_t count) {
  Ints largest{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Ints bits = reinterpret_cast<Ints>(load(x + i, count - i)) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  const int32_t bits = largest_of(largest);
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

struct Times {
  float turn;
  TESSERA_INLINE Floats operator()(Floats v) const { return v * turn; }
};

struct Over {
  float scale;
  TESSERA_INLINE Floats operator()(Floats v) const { return v / scale; }
};

/// Where the codes of a row go: groups `stride` bytes apart.
struct Strided {
  uint8_t* codes;
  int64_t stride;
  TESSERA_INLINE uint8_t* group(int64_t input) const { return codes + input / kInt8Group * stride; }
};

/// The same in a square of kernels/tile_products.h.
struct InSteps {
  uint8_t* codes;
  static constexpr int64_t stride = kInt8Group;
  TESSERA_INLINE uint8_t* group(int64_t input) const {
    return codes + input / kStepRow * kStepBytes + input % kStepRow;
  }
};

/// Codes of a row, plus `offset`; returns their sum without the offset. `scaled` makes 16 codes of 16 numbers.
template <typename Value, typename Scale, typename Place>
TESSERA_INLINE int32_t quantize_row(const Value* x, int64_t inputs, int32_t offset, const Scale& scaled,
                                    const Place& place) {
  constexpr int64_t kGroups = kLanes / kInt8Group;
  Words total{};  // wraps where the row is not finite
  for (int64_t i = 0; i < inputs; i += kLanes) {
    const Floats rounded = scaled(load(x + i, inputs - i)) + kRound;
    const Ints whole = reinterpret_cast<Ints>(rounded) - kRoundBits;
    total += reinterpret_cast<Words>(whole);
    const auto groups = reinterpret_cast<Groups>(__builtin_convertvector(whole + offset, Bytes));
    uint8_t* codes = place.group(i);
    if (inputs - i >= kLanes) {
      TESSERA_UNROLL
      for (int64_t g = 0; g < kGroups; ++g) put_group(groups[g], codes + g * place.stride);
    } else {
      for (int64_t g = 0; g < int8_groups(inputs - i); ++g) put_group(groups[g], codes + g * place.stride);
    }
  }
  return sum_of(total);
}

template <typename Value>
TESSERA_INLINE void quantize(const Value* x, int64_t inputs, int64_t begin, int64_t end, const Int8Rows& to) {
  const Int8Layout layout = to.layout;
  for (int64_t row = begin; row < end; ++row) {
    const Value* from = x + row * inputs;
    const float largest = largest_magnitude(from, inputs);
    const bool tiny = largest < std::numeric_limits<float>::min() * kLargestCode;  // its inverse would overflow
    const Times scaled{tiny ? 0.0f : kLargestCode / largest};
    to.scales[row] = tiny ? 0.0f : largest / kLargestCode;
    auto* tile = reinterpret_cast<uint8_t*>(to.codes + row / layout.rows() * layout.tile_bytes(inputs));
    int32_t sum;
    if (layout.squares) {
      const InSteps place{tile + row % kSquare * kStepRow};
      sum = quantize_row(from, inputs, 0, scaled, place);
      for (int64_t i = int8_groups(inputs) * kInt8Group; i % kStepRow != 0; i += kInt8Group)
        put_group(0, place.group(i));
    } else {
      sum = quantize_row(from, inputs, 0, scaled, Strided{tile + row % kInt8Tile * kInt8Group, kInt8Tile * kInt8Group});
    }
    to.sums[row] = largest <= std::numeric_limits<float>::max() ? sum : 0;  // else codes are rubbish, as the scale says
  }
}

template <typename Value>
TESSERA_INLINE void quantize_weight(const Value* w, int64_t inputs, int64_t count, uint8_t* panel, float* scales) {
  for (int64_t c = 0; c < count; ++c) {
    const float largest = largest_magnitude(w + c * inputs, inputs), scale = largest / kLargestCode;
    scales[c] = scale == 0 ? 1.0f : scale;
    quantize_row(w + c * inputs, inputs, kOffset, Over{scales[c]}, Strided{panel + c * kInt8Group, kGroupBytes});
  }
}

// Each variant of tile_NAME<kRows>(x, panel, groups, sums) computes the sums [kRows, kInt8Panel] of a tile and a panel.

template <int64_t kRows>
void tile_any(const int8_t* x, const uint8_t* panel, int64_t groups, int32_t* sums) {
  std::fill_n(sums, kRows * kInt8Panel, 0);
  for (int64_t g = 0; g < groups; ++g, x += kInt8Tile * kInt8Group, panel += kGroupBytes)
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < kInt8Panel; ++c) {
        int32_t sum = 0;
        for (int64_t i = 0; i < kInt8Group; ++i) sum += x[r * kInt8Group + i] * panel[c * kInt8Group + i];
        sums[r * kInt8Panel + c] += sum;
      }
}

#if defined(__x86_64__)

/// Products of eight bits would saturate: numbers are widened to 16 and multiplied as pairs, for four rows and eight
/// columns at a time.
template <int64_t kRows>
[[gnu::target("avx2,fma")]] void tile_avx2(const int8_t* x, const uint8_t* panel, int64_t groups, int32_t* sums) {
  constexpr int64_t kColumns = 8, kRowsAtOnce = kRows % 4 == 0 ? 4 : kRows % 3 == 0 ? 3 : kRows % 2 == 0 ? 2 : 1;
  for (int64_t first = 0; first < kRows; first += kRowsAtOnce)
    for (int64_t column = 0; column < kInt8Panel; column += kColumns) {
      __m256i low[kRowsAtOnce], high[kRowsAtOnce];
      TESSERA_UNROLL
      for (int64_t r = 0; r < kRowsAtOnce; ++r) low[r] = high[r] = _mm256_setzero_si256();
      for (int64_t g = 0; g < groups; ++g) {
        const auto* b = reinterpret_cast<const __m128i*>(panel + g * kGroupBytes + column * kInt8Group);
        const __m256i b_low = _mm256_cvtepu8_epi16(_mm_loadu_si128(b));
        const __m256i b_high = _mm256_cvtepu8_epi16(_mm_loadu_si128(b + 1));
        TESSERA_UNROLL
        for (int64_t r = 0; r < kRowsAtOnce; ++r) {
          int32_t a;
          std::memcpy(&a, x + (g * kInt8Tile + first + r) * kInt8Group, sizeof(a));
          const __m256i wide = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(a)));
          low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(b_low, wide));
          high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(b_high, wide));
        }
      }
      TESSERA_UNROLL
      for (int64_t r = 0; r < kRowsAtOnce; ++r) {
        const __m256i pairs = _mm256_hadd_epi32(low[r], high[r]);  // columns 0 1 4 5 2 3 6 7
        const __m256i ordered = _mm256_permute4x64_epi64(pairs, _MM_SHUFFLE(3, 1, 2, 0));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + (first + r) * kInt8Panel + column), ordered);
      }
    }
}

template <int64_t kRows>
TESSERA_AVX512_VNNI_CODE void tile_vnni(const int8_t* x, const uint8_t* panel, int64_t groups, int32_t* sums) {
  __m512i left[kRows], right[kRows];  // of the panel
  TESSERA_UNROLL
  for (int64_t r = 0; r < kRows; ++r) left[r] = right[r] = _mm512_setzero_si512();
  for (int64_t g = 0; g < groups; ++g, x += kInt8Tile * kInt8Group, panel += kGroupBytes) {
    const __m512i b_left = _mm512_loadu_si512(panel), b_right = _mm512_loadu_si512(panel + kGroupBytes / 2);
    TESSERA_UNROLL
    for (int64_t r = 0; r < kRows; ++r) {
      int32_t group;
      std::memcpy(&group, x + r * kInt8Group, sizeof(group));
      const __m512i a = _mm512_set1_epi32(group);
      left[r] = _mm512_dpbusd_epi32(left[r], b_left, a);
      right[r] = _mm512_dpbusd_epi32(right[r], b_right, a);
    }
  }
  TESSERA_UNROLL
  for (int64_t r = 0; r < kRows; ++r) {
    _mm512_storeu_si512(sums + r * kInt8Panel, left[r]);
    _mm512_storeu_si512(sums + r * kInt8Panel + kLanes, right[r]);
  }
}

#endif  // x86_64

/// What follows the sums of a tile and a panel.
struct ProductEnd {
  const Int8Rows& x;
  const Int8Weight& weight;
  const float* bias;
  Activation activation;

  template <typename Value>
  TESSERA_INLINE void put(const int32_t* sums, int64_t row, int64_t rows, int64_t column, Value* y) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < kInt8Panel && column + c < weight.outputs; c += kLanes) {
        const int64_t at = column + c, left = weight.outputs - at;
        Ints exact;
        std::memcpy(&exact, sums + r * kInt8Panel + c, sizeof(exact));
        exact -= kOffset * x.sums[row + r];
        const Floats scales = load(weight.scales + at, left) * x.scales[row + r];
        Floats out = __builtin_convertvector(exact, Floats) * scales;
        if (bias) out += load(bias + at, left);
        if (activation == Activation::kGelu) out *= gelu_gate(out);
        store(out, y + (row + r) * weight.outputs + at, left);
      }
  }
};

#define TESSERA_PRODUCT(name, attribute)                                                                           \
  template <int64_t kRows = kInt8Tile>                                                                             \
  attribute void sums_##name(int64_t rows, const int8_t* x, const uint8_t* panel, int64_t groups, int32_t* sums) { \
    if constexpr (kRows > 1)                                                                                       \
      if (rows < kRows) return sums_##name<kRows - 1>(rows, x, panel, groups, sums);                               \
    tile_##name<kRows>(x, panel, groups, sums);                                                                    \
  }                                                                                                                \
  template <typename Value>                                                                                        \
  attribute void product_##name(const ProductEnd& end, int64_t first_row, int64_t end_row, int64_t first_panel,    \
                                int64_t end_panel, Value* y) {                                                     \
    const Int8Weight& w = end.weight;                                                                              \
    const int64_t groups = int8_groups(w.inputs);                                                                  \
    alignas(64) int32_t sums[kInt8Tile * kInt8Panel];                                                              \
    for (int64_t panel = first_panel; panel < end_panel; ++panel)                                                  \
      for (int64_t row = first_row; row < end_row; row += kInt8Tile) {                                             \
        const int64_t rows = std::min(kInt8Tile, end_row - row);                                                   \
        const int8_t* tile = end.x.codes + row / kInt8Tile * end.x.layout.tile_bytes(w.inputs);                    \
        sums_##name(rows, tile, w.codes + panel * w.panel_bytes(), groups, sums);                                  \
        end.put(sums, row, rows, panel* kInt8Panel, y);                                                            \
      }                                                                                                            \
  }

#if defined(__x86_64__)
/// What multiply_in_tiles calls with the sums of a square.
template <typename Value>
struct SquareEnd {
  const ProductEnd& end;
  Value* y;

  TESSERA_AVX512_VNNI_CODE void operator()(const int32_t* sums, int64_t row, int64_t rows, int64_t panel) const {
    end.put(sums, row, rows, panel * kInt8Panel, y);
  }
};

template <typename Value>
void product_tiles(const ProductEnd& end, int64_t first_row, int64_t end_row, int64_t first_panel, int64_t end_panel,
                   Value* y) {
  const TileOperands operands{tile_steps(end.weight.inputs), end.x.codes, end.weight.codes};
  multiply_in_tiles(operands, first_row, end_row, first_panel, end_panel, SquareEnd<Value>{end, y});
}
#endif

TESSERA_PRODUCT(any, )
#if defined(__x86_64__)
TESSERA_PRODUCT(avx2, [[gnu::target("avx2,fma")]])
TESSERA_PRODUCT(vnni, TESSERA_AVX512_VNNI_CODE)
#endif

#define TESSERA_VARIANT(name, attribute)                                                                           \
  template <typename Value>                                                                                        \
  attribute void quantize_##name(const Value* x, int64_t inputs, int64_t begin, int64_t end, const Int8Rows& to) { \
    quantize(x, inputs, begin, end, to);                                                                           \
  }                                                                                                                \
  template <typename Value>                                                                                        \
  attribute void quantize_weight_##name(const Value* w, int64_t inputs, int64_t count, uint8_t* panel,             \
                                        float* scales) {                                                           \
    quantize_weight(w, inputs, count, panel, scales);                                                              \
  }
TESSERA_EACH_VARIANT(TESSERA_VARIANT)

}  // namespace

template <typename Value>
void quantize_rows(const Value* x, int64_t inputs, int64_t begin, int64_t end, const Int8Rows& to) {
  TESSERA_DISPATCH(quantize, x, inputs, begin, end, to);
}

template <typename Value>
void quantize_panel(const Value* w, int64_t inputs, int64_t count, uint8_t* panel, float* scales) {
  TESSERA_DISPATCH(quantize_weight, w, inputs, count, panel, scales);
}

void arrange_panel(const int8_t* codes, int64_t inputs, int64_t count, uint8_t* panel) {
  for (int64_t c = 0; c < count; ++c)
    for (int64_t i = 0; i < inputs; ++i)
      panel[i / kInt8Group * kGroupBytes + c * kInt8Group + i % kInt8Group] =
          static_cast<uint8_t>(codes[c * inputs + i] + kOffset);
}

void read_panel_row(const Int8Weight& weight, int64_t output, float* to) {
  const uint8_t* panel = weight.codes + output / kInt8Panel * weight.panel_bytes() + output % kInt8Panel * kInt8Group;
  for (int64_t i = 0; i < weight.inputs; ++i)
    to[i] = static_cast<float>(panel[i / kInt8Group * kGroupBytes + i % kInt8Group] - kOffset);
}

template <typename Value>
void int8_product(const Int8Rows& x, const Int8Weight& weight, const float* bias, Activation activation,
                  int64_t first_row, int64_t end_row, int64_t first_panel, int64_t end_panel, Value* y) {
  const ProductEnd end{x, weight, bias, activation};
#if defined(__x86_64__)
  const InstructionSet set = instruction_set();
  if (x.layout.squares) return product_tiles(end, first_row, end_row, first_panel, end_panel, y);
  if (set >= InstructionSet::kAvx512Vnni) return product_vnni(end, first_row, end_row, first_panel, end_panel, y);
  if (set >= InstructionSet::kAvx2) return product_avx2(end, first_row, end_row, first_panel, end_panel, y);
#endif
  product_any(end, first_row, end_row, first_panel, end_panel, y);
}

#define TESSERA_INSTANTIATE(Value)                                                                                    \
  template void quantize_rows(const Value*, int64_t, int64_t, int64_t, const Int8Rows&);                              \
  template void quantize_panel(const Value*, int64_t, int64_t, uint8_t*, float*);                                     \
  template void int8_product(const Int8Rows&, const Int8Weight&, const float*, Activation, int64_t, int64_t, int64_t, \
                             int64_t, Value*);
TESSERA_INSTANTIATE(float)
TESSERA_INSTANTIATE(Bfloat16Bits)

}  // namespace tessera
