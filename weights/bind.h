#pragma once

#include <ATen/core/Tensor.h>

#include "core/params.h"
#include "weights/safetensors.h"

namespace tessera {

/// Throws the Error that bind throws for names, shapes and dtypes, without reading a number of any tensor. A file of
/// another kind (a LoRA, weights quantized in a way that is not read: see foreign_tensors) is named.
void check_names(const ParamList& params, const TensorFile& file);

/// Fills every listed slot from `file`, converted to `dtype` (float32 for keep_float) on `device`; a tensor that
/// already has that dtype on the CPU stays a view into the mapped file, and on the CPU a packed one stays packed where
/// the network takes it so (Param::packable). Throws one Error that names the file and lists
/// up to ten tensors that are missing, unexpected, of the wrong shape (both shapes are given) or not floating-point.
/// With `int8`, what takes that (Param::takes_int8) is quantized for int8 products on the CPU (int8_tensor).
/// With `check_finite`, tensors that hold NaN, infinity or a number too large for `dtype` are listed too. On a GPU
/// the device converts and checks (DeviceWeights). No slot changes on an error.
void bind(const ParamList& params, const TensorFile& file, at::ScalarType dtype, at::Device device,
          bool check_finite = true, bool int8 = false);

/// The same tensors for a network that reads its matrices from the file for each use: those that it takes packed become
/// packed tensors (plain float32, bfloat16 and float16 ones too) whose pages are given back after each product.
TensorFile streamed(const ParamList& params, const TensorFile& file);

}  // namespace tessera
