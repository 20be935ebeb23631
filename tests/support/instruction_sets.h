#pragma once

#include <gtest/gtest.h>

#include "kernels/instruction_set.h"

namespace tessera::test {

/// Calls body() once for each variant of the vectorized kernels that this machine can run, the portable one first.
template <typename Body>
void for_each_instruction_set(const Body& body) {
  const InstructionSet best = instruction_set();
  for (const InstructionSet set : {InstructionSet::kAny, InstructionSet::kAvx2, InstructionSet::kAvx512,
                                   InstructionSet::kAvx512Vnni, InstructionSet::kAmx}) {
    if (set > best) break;
    SCOPED_TRACE(testing::Message() << "instruction set " << static_cast<int>(set));
    const LimitInstructions limit(set);
    body();
  }
}

}  // namespace tessera::test
