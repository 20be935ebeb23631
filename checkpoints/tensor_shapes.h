#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "weights/safetensors.h"

namespace tessera {

/// The shape of a tensor that must be present with `dims` dimensions, none of them 0. Throws Error naming the file, the
/// tensor and its shape.
at::IntArrayRef shape_of(const TensorFile& file, const std::string& name, int64_t dims);

/// The square root of a square number. Throws Error beginning with `what`, which names the file and the number.
int64_t exact_root(int64_t square, const std::string& what);

}  // namespace tessera
