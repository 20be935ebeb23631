#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace tessera {

/// How far a network is from what its reference recorded.
struct ParityFigure {
  std::string fixture;  ///< its folder in tests/data/fixtures, or in TESSERA_FIXTURES
  at::ScalarType dtype;
  double error;  ///< the largest max|a - b| / max|b| of its outputs; not finite where an output is not
  double bound;  ///< what it may be
};

/// Every fixture that bench/gpu compares, in float32 and bfloat16, computed on `device`. Throws Error where one cannot
/// be read and c10::Error where its network cannot be computed.
std::vector<ParityFigure> measure_parity(at::Device device);

}  // namespace tessera
