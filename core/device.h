#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace tessera {

/// Turns "cpu", "cuda", "cuda:N" or "auto" into a device. For CUDA it loads libtorch_cuda.so, which registers the
/// backend: call it before the first tensor is made. "auto" is cuda:0 where the library, the driver and a device are
/// present, else cpu. Throws Error (usage) that says what is missing: the library, the driver or the device.
at::Device open_device(const std::string& name);

/// Whether `device` multiplies bfloat16 in hardware (AVX512-bf16 on a CPU, which every CPU with AMX-bf16 has; any CUDA
/// device).
bool has_fast_bfloat16(at::Device device);

/// "fp32", "bf16" and "fp16" as named; "auto" is bfloat16 on a device that multiplies it, unless the weights are kept
/// in float32 (`stored`) and so few (`parameters` below 100 million) that their precision costs nothing worth saving.
/// Throws Error for fp16 on a CPU, whose kernels lack it, and for another name.
at::ScalarType choose_dtype(const std::string& name, at::Device device, at::ScalarType stored, int64_t parameters);

/// "fp32", "bf16", "fp16" for those dtypes, else ATen's name.
std::string dtype_name(at::ScalarType dtype);

}  // namespace tessera
