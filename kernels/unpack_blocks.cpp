#include "kernels/unpack_blocks.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e5m2.h>
#include <c10/util/Half.h>

#include <array>
#include <cstring>

#include "kernels/simd.h"

// Compiled without contraction of products and sums (see CMakeLists.txt), which would round once less than the
// reference.
namespace tessera {
namespace {

constexpr int kSuper = 256;  // numbers of a K block

TESSERA_INLINE float half_at(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

/// Q4_0: scale, 16 bytes whose low nibbles are the first half.
TESSERA_INLINE void q4_0(const uint8_t* block, float* out) {
  const float d = half_at(block);
  const uint8_t* q = block + 2;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((q[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((q[i] >> 4) - 8);
  }
}

TESSERA_INLINE void q4_1(const uint8_t* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  const uint8_t* q = block + 4;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(q[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(q[i] >> 4) + m;
  }
}

/// Five bits: nibbles as in Q4_0, and the fifth bits of all 32 numbers in one word.
TESSERA_INLINE void five_bits(const uint8_t* high, const uint8_t* q, int* out) {
  uint32_t bits;
  std::memcpy(&bits, high, sizeof(bits));
  for (int i = 0; i < 16; ++i) {
    out[i] = (q[i] & 15) | static_cast<int>((bits >> i & 1) << 4);
    out[i + 16] = (q[i] >> 4) | static_cast<int>((bits >> (i + 16) & 1) << 4);
  }
}

TESSERA_INLINE void q5_0(const uint8_t* block, float* out) {
  const float d = half_at(block);
  int q[32];
  five_bits(block + 2, block + 6, q);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i] - 16);
}

TESSERA_INLINE void q5_1(const uint8_t* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  int q[32];
  five_bits(block + 4, block + 8, q);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]) + m;
}

TESSERA_INLINE void q8_0(const uint8_t* block, float* out) {
  const float d = half_at(block);
  const auto* q = reinterpret_cast<const int8_t*>(block + 2);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i]) * d;
}

/// Q2_K: 16 bytes of scale and minimum (4 bits each), 64 bytes of 2-bit numbers, their two factors.
TESSERA_INLINE void q2_k(const uint8_t* block, float* out) {
  const uint8_t *scales = block, *q = block + 16;
  const float d = half_at(block + 80), least = half_at(block + 82);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(scales[group] & 15),
                low = least * static_cast<float>(scales[group] >> 4);
    const uint8_t* from = q + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) out[group * 16 + i] = scale * static_cast<float>(from[i] >> shift & 3) - low;
  }
}

/// Q3_K: 32 bytes of third bits, 64 bytes of 2-bit numbers, 16 scales of 6 bits in 12 bytes, their factor.
TESSERA_INLINE void q3_k(const uint8_t* block, float* out) {
  const uint8_t *high = block, *q = block + 32, *packed = block + 96;
  const float d = half_at(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
    const int scale = (low | (packed[8 + group % 4] >> group / 4 * 2 & 3) << 4) - 32;
    const float step = d * static_cast<float>(scale);
    const uint8_t *from = q + group / 8 * 32 + group % 2 * 16, *third = high + group % 2 * 16;
    const int shift = group % 8 / 2 * 2, bit = group / 2;
    for (int i = 0; i < 16; ++i) {
      const int number = (from[i] >> shift & 3) - ((third[i] >> bit & 1) ? 0 : 4);
      out[group * 16 + i] = step * static_cast<float>(number);
    }
  }
}

struct ScaleAndMinimum {
  float scale, minimum;
};

/// Number `group` of the eight pairs of 6 bits that Q4_K and Q5_K keep in 12 bytes.
TESSERA_INLINE ScaleAndMinimum six_bits(const uint8_t* packed, int group) {
  if (group < 4) return {static_cast<float>(packed[group] & 63), static_cast<float>(packed[group + 4] & 63)};
  const int high = packed[group + 4];
  return {static_cast<float>((high & 15) | (packed[group - 4] >> 2 & 48)),
          static_cast<float>((high >> 4) | (packed[group] >> 2 & 48))};
}

/// Q4_K: two factors, 12 bytes of scales and minima, 128 bytes of nibbles.
TESSERA_INLINE void q4_k(const uint8_t* block, float* out) {
  const float d = half_at(block), least = half_at(block + 2);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum pair = six_bits(block + 4, group);
    const float scale = d * pair.scale, low = least * pair.minimum;
    const uint8_t* from = block + 16 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) out[group * 32 + i] = scale * static_cast<float>(from[i] >> shift & 15) - low;
  }
}

/// Q5_K: as Q4_K, with 32 bytes of fifth bits before the nibbles.
TESSERA_INLINE void q5_k(const uint8_t* block, float* out) {
  const float d = half_at(block), least = half_at(block + 2);
  const uint8_t* fifth = block + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum pair = six_bits(block + 4, group);
    const float scale = d * pair.scale, low = least * pair.minimum;
    const uint8_t* from = block + 48 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int number = (from[i] >> shift & 15) | (fifth[i] >> group & 1) << 4;
      out[group * 32 + i] = scale * static_cast<float>(number) - low;
    }
  }
}

/// Q6_K: 128 bytes of nibbles, 64 bytes of the two bits above them, 16 signed scales, their factor.
TESSERA_INLINE void q6_k(const uint8_t* block, float* out) {
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
  const float d = half_at(block + 208);
  for (int group = 0; group < 16; ++group) {
    const int row = group / 2, half = row / 4;  // rows of 32 numbers
    const float step = d * static_cast<float>(scales[group]);
    const uint8_t* from = block + half * 64 + row % 2 * 32 + group % 2 * 16;
    const uint8_t* above = block + 128 + half * 32 + group % 2 * 16;
    const int shift = row / 2 % 2 * 4, shift_above = row % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      const int number = ((from[i] >> shift & 15) | (above[i] >> shift_above & 3) << 4) - 32;
      out[group * 16 + i] = step * static_cast<float>(number);
    }
  }
}

template <typename Float8>
std::array<float, 256> table_of() {
  std::array<float, 256> table{};
  for (size_t code = 0; code < table.size(); ++code)
    table[code] = static_cast<float>(Float8(static_cast<uint8_t>(code), Float8::from_bits()));
  return table;
}

const std::array<float, 256>& e4m3_table() {
  static const std::array<float, 256> table = table_of<c10::Float8_e4m3fn>();
  return table;
}

const std::array<float, 256>& e5m2_table() {
  static const std::array<float, 256> table = table_of<c10::Float8_e5m2>();
  return table;
}

TESSERA_INLINE void look_up(const std::array<float, 256>& table, const uint8_t* codes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = table[codes[i]];
}

TESSERA_INLINE void decode_numbers(PackedType type, const uint8_t* from, int64_t count, float* out) {
  switch (type) {
    case PackedType::kInt8:
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(static_cast<int8_t>(from[i]));
      break;
    case PackedType::kE4m3:
      return look_up(e4m3_table(), from, count, out);
    case PackedType::kE5m2:
      return look_up(e5m2_table(), from, count, out);
    case PackedType::kFloat:
      std::memcpy(out, from, static_cast<size_t>(count) * sizeof(float));
      break;
    case PackedType::kHalf:
      for (int64_t i = 0; i < count; ++i) out[i] = half_at(from + 2 * i);
      break;
    default:  // bfloat16
      for (int64_t i = 0; i < count; ++i) {
        uint16_t bits;
        std::memcpy(&bits, from + 2 * i, sizeof(bits));
        out[i] = c10::detail::f32_from_bits(bits);
      }
  }
}

#define TESSERA_DECODE(TYPE, function, numbers, bytes)                                                           \
  case PackedType::TYPE:                                                                                         \
    for (int64_t block = 0; block < count; ++block) function(blocks + block * (bytes), out + block * (numbers)); \
    break;

#define TESSERA_UNPACK(name, attribute)                                                             \
  attribute void unpack_##name(PackedType type, const uint8_t* blocks, int64_t count, float* out) { \
    switch (type) {                                                                                 \
      TESSERA_DECODE(kQ4_0, q4_0, 32, 18)                                                           \
      TESSERA_DECODE(kQ4_1, q4_1, 32, 20)                                                           \
      TESSERA_DECODE(kQ5_0, q5_0, 32, 22)                                                           \
      TESSERA_DECODE(kQ5_1, q5_1, 32, 24)                                                           \
      TESSERA_DECODE(kQ8_0, q8_0, 32, 34)                                                           \
      TESSERA_DECODE(kQ2K, q2_k, kSuper, 84)                                                        \
      TESSERA_DECODE(kQ3K, q3_k, kSuper, 110)                                                       \
      TESSERA_DECODE(kQ4K, q4_k, kSuper, 144)                                                       \
      TESSERA_DECODE(kQ5K, q5_k, kSuper, 176)                                                       \
      TESSERA_DECODE(kQ6K, q6_k, kSuper, 210)                                                       \
      default:                                                                                      \
        decode_numbers(type, blocks, count, out);                                                   \
    }                                                                                               \
  }
TESSERA_EACH_VARIANT(TESSERA_UNPACK)
#undef TESSERA_UNPACK
#undef TESSERA_DECODE

}  // namespace

void unpack_blocks(PackedType type, const uint8_t* blocks, int64_t count, float* out) {
  TESSERA_DISPATCH(unpack, type, blocks, count, out);
}

}  // namespace tessera
