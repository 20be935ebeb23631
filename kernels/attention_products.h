#pragma once

namespace tessera {

/// How the attention kernels multiply.
enum class AttentionProducts {
  kFloat,  ///< float32
  kPairs,  ///< pairs of bfloat16 (vdpbf16ps), summed in float32
  kTiles   ///< bfloat16 in tile registers, summed in float32; needs InstructionSet::kAmx
};

/// The fastest on this machine.
AttentionProducts best_attention_products();

}  // namespace tessera
