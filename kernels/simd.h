#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/bfloat16_bits.h"
#include "kernels/instruction_set.h"

// Sixteen lanes through the vector extension that GCC and clang share, for kernels that are compiled once for each
// instruction set and chosen at run time, because the program itself is built for any x86-64. Include in kernel .cpp
// files only.
#define TESSERA_INLINE [[gnu::always_inline]] inline

// Before a loop: unroll it completely, or by two.
#if defined(__clang__)
#define TESSERA_UNROLL _Pragma("unroll")
#define TESSERA_UNROLL_BY_2 _Pragma("unroll 2")
#else
#define TESSERA_UNROLL _Pragma("GCC unroll 16")
#define TESSERA_UNROLL_BY_2 _Pragma("GCC unroll 2")
#endif

// For functions written in AVX-512's own intrinsics.
#define TESSERA_AVX512_CODE [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma")]]
#define TESSERA_AVX512_VNNI_CODE [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx512vnni")]]
#define TESSERA_AVX512_BF16_CODE [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx512bf16")]]

// TESSERA_EACH_VARIANT(DEFINE) expands DEFINE(name, attribute) for each instruction set; DEFINE defines the functions
// FUNCTION_##name. TESSERA_DISPATCH(FUNCTION, arguments...) then calls the one for this machine.
#if defined(__x86_64__)
#define TESSERA_EACH_VARIANT(DEFINE)        \
  DEFINE(any, )                             \
  DEFINE(avx2, [[gnu::target("avx2,fma")]]) \
  DEFINE(avx512, [[gnu::target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]])
#define TESSERA_DISPATCH(function, ...)                                        \
  do {                                                                         \
    const InstructionSet set = instruction_set();                              \
    if (set >= InstructionSet::kAvx512) return function##_avx512(__VA_ARGS__); \
    if (set >= InstructionSet::kAvx2) return function##_avx2(__VA_ARGS__);     \
    return function##_any(__VA_ARGS__);                                        \
  } while (false)
#else
#define TESSERA_EACH_VARIANT(DEFINE) DEFINE(any, )
#define TESSERA_DISPATCH(function, ...) return function##_any(__VA_ARGS__)
#endif

namespace tessera {

namespace simd {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(4 * kLanes)));
using Words = uint32_t __attribute__((vector_size(4 * kLanes)));
using Ints = int32_t __attribute__((vector_size(4 * kLanes)));
using Halves = uint16_t __attribute__((vector_size(2 * kLanes)));

/// The first `count` values from memory, zeros beyond; `count` may exceed kLanes.
TESSERA_INLINE Floats load(const float* from, int64_t count) {
  Floats out{};
  if (count >= kLanes)
    std::memcpy(&out, from, sizeof(out));
  else
    std::memcpy(&out, from, static_cast<size_t>(count) * sizeof(float));
  return out;
}

TESSERA_INLINE Floats load(const Bfloat16Bits* from, int64_t count) {
  Halves halves{};
  if (count >= kLanes)
    std::memcpy(&halves, from, sizeof(halves));
  else
    std::memcpy(&halves, from, static_cast<size_t>(count) * sizeof(uint16_t));
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

TESSERA_INLINE void store(Floats value, float* to, int64_t count) {
  if (count >= kLanes)
    std::memcpy(to, &value, sizeof(value));
  else
    std::memcpy(to, &value, static_cast<size_t>(count) * sizeof(float));
}

/// Rounds to nearest even. A NaN whose payload would vanish stays a NaN.
TESSERA_INLINE void store(Floats value, Bfloat16Bits* to, int64_t count) {
  const Words bits = reinterpret_cast<Words>(value);
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words is_number = reinterpret_cast<Words>(value == value);
  const Halves halves = __builtin_convertvector((rounded & is_number) | (0x7fc0 & ~is_number), Halves);
  if (count >= kLanes)
    std::memcpy(to, &halves, sizeof(halves));
  else
    std::memcpy(to, &halves, static_cast<size_t>(count) * sizeof(uint16_t));
}

TESSERA_INLINE float sum(Floats value) {
  float parts[kLanes];
  std::memcpy(parts, &value, sizeof(parts));
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t i = 0; i < width; ++i) parts[i] += parts[i + width];
  return parts[0];
}

/// Neighboring lanes exchanged: 1, 0, 3, 2, ...
TESSERA_INLINE Floats swap_pairs(Floats value) {
  return __builtin_shufflevector(value, value, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
}

/// 1 / (1 + exp(-x)), exp by the classical reduction to |r| <= ln 2 / 2 and a polynomial of degree 6 (error 1e-7).
TESSERA_INLINE Floats sigmoid(Floats x) {
  Floats t = -x;
  t = t < -87.0f ? Floats{} - 87.0f : t;
  t = t > 87.0f ? Floats{} + 87.0f : t;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats whole = (t * 1.44269504f + kRound) - kRound;
  const Floats r = (t - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Floats power = reinterpret_cast<Floats>((__builtin_convertvector(whole, Ints) + 127) << 23);
  return 1.0f / (1.0f + p * power);
}

/// GELU in its tanh form is x times this: 0.5 (1 + tanh u) = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
TESSERA_INLINE Floats gelu_gate(Floats x) {
  constexpr float kRootTwoOverPi = 0.7978845608f, kCubic = 0.044715f;
  return sigmoid(x * (2 * kRootTwoOverPi) * (1.0f + kCubic * x * x));
}

}  // namespace simd
}  // namespace tessera
