#pragma once

#include <cstdint>

namespace tessera {

/// Frames per second as an exact fraction, e.g. {16, 1} or {24000, 1001}.
struct FrameRate {
  int64_t numerator = 16;
  int64_t denominator = 1;
  bool operator==(const FrameRate&) const = default;
};

}  // namespace tessera
