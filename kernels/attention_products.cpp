#include "kernels/attention_products.h"

#include "kernels/instruction_set.h"
#include "kernels/lane_products.h"

namespace tessera {

AttentionProducts best_attention_products() {
  if (instruction_set() >= InstructionSet::kAmx) return AttentionProducts::kTiles;
  return prefers_bfloat16_products() ? AttentionProducts::kPairs : AttentionProducts::kFloat;
}

}  // namespace tessera
