#pragma once

#include <ATen/core/Tensor.h>

#include "core/params.h"
#include "weights/safetensors.h"

namespace tessera {

/// Fills every listed slot from `file`, converted to `dtype` (float32 where keep_float) on `device`; a tensor already
/// of that dtype on the CPU stays a view into the mapped file. Throws one Error that lists up to ten missing,
/// unexpected or mis-shaped tensors (both shapes), non-floating ones, and the file. With `check_finite`, a tensor
/// holding NaN or infinity, or a number too large for `dtype`, is such a problem too. No slot changes on an error.
void bind(const ParamList& params, const TensorFile& file, at::ScalarType dtype, at::Device device,
          bool check_finite = true);

}  // namespace tessera
