#pragma once

namespace tessera {

/// The instruction sets that kernels are compiled for, each including those before it. The program itself is built for
/// any x86-64; a kernel picks its variant at run time.
enum class InstructionSet {
  kAny,         ///< what the compiler's default target has
  kAvx2,        ///< AVX2, FMA
  kAvx512,      ///< AVX-512 F, BW, DQ, VL
  kAvx512Vnni,  ///< AVX512-VNNI
  kAvx512Bf16,  ///< AVX512-BF16
  kAmx,         ///< AMX-TILE, AMX-INT8, AMX-BF16, and the system lets this process use the tile registers
};

/// The largest set that this machine has, or less where a LimitInstructions says so.
InstructionSet instruction_set();

/// Whether LibTorch multiplies bfloat16 in tile registers (AMX): the machine has them, and the system lets this process
/// use them. Where a kernel of ours is not compiled for them, its products are faster then.
bool has_tile_registers();

/// While it lives, kernels use at most the set `most`, on every thread: tests run each variant with it. One at a time.
class LimitInstructions {
 public:
  explicit LimitInstructions(InstructionSet most);
  ~LimitInstructions();
  LimitInstructions(const LimitInstructions&) = delete;
  LimitInstructions& operator=(const LimitInstructions&) = delete;
};

}  // namespace tessera
