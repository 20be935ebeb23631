#pragma once

#include <cstdint>

namespace tessera {

/// The bits of a bfloat16.
struct Bfloat16Bits {
  uint16_t bits;
};

}  // namespace tessera
