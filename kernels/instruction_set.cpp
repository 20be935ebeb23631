#include "kernels/instruction_set.h"

#include <ATen/cpu/Utils.h>

#include <algorithm>
#include <atomic>

namespace tessera {
namespace {

InstructionSet detect() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::kAny;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return InstructionSet::kAvx2;
  if (!__builtin_cpu_supports("avx512vnni")) return InstructionSet::kAvx512;
  return __builtin_cpu_supports("avx512bf16") ? InstructionSet::kAvx512Bf16 : InstructionSet::kAvx512Vnni;
#else
  return InstructionSet::kAny;
#endif
}

std::atomic<InstructionSet> limit{InstructionSet::kAvx512Bf16};

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
  limit = InstructionSet::kAvx512Bf16;
}

}  // namespace tessera
