#include "kernels/instruction_set.h"

#include <ATen/cpu/Utils.h>

#include <algorithm>
#include <atomic>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tessera {
namespace {

#if defined(__x86_64__)
bool multiplies_tiles() {
  constexpr unsigned kFeatures = 7, kBfloat16 = 1U << 22, kInt8 = 1U << 25;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(kFeatures, 0, &a, &b, &c, &d) && (d & kBfloat16) && (d & kInt8) && has_tile_registers();
}
#endif

InstructionSet detect() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::kAny;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return InstructionSet::kAvx2;
  if (!__builtin_cpu_supports("avx512vnni")) return InstructionSet::kAvx512;
  if (!__builtin_cpu_supports("avx512bf16")) return InstructionSet::kAvx512Vnni;
  return multiplies_tiles() ? InstructionSet::kAmx : InstructionSet::kAvx512Bf16;
#else
  return InstructionSet::kAny;
#endif
}

constexpr InstructionSet kLargest = InstructionSet::kAmx;

std::atomic<InstructionSet> limit{kLargest};

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet detected = detect();
  return std::min(detected, limit.load(std::memory_order_relaxed));
}

bool has_tile_registers() {
  static const bool tiles = at::cpu::init_amx();
  return tiles;
}

LimitInstructions::LimitInstructions(InstructionSet most) {
  limit = most;
}

LimitInstructions::~LimitInstructions() {
  limit = kLargest;
}

}  // namespace tessera
