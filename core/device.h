#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace tessera {

/// Turns "cpu", "cuda", "cuda:N" or "auto" into a device; "gpu" means cuda. For CUDA it loads libtorch_cuda.so, which
/// registers the backend: call it before the first tensor is made. "auto" is cuda:0 when the library, the driver and a
/// device are present, else cpu. Throws Error (usage) that says what is missing: the library, the driver or the device.
at::Device open_device(const std::string& name);

/// The CUDA devices that open_device would find; 0 where it would throw.
int64_t gpu_count();

/// The device of one of several processes of a machine: "cuda" and, where there is a GPU, "auto" become the GPU of its
/// number, in turn; any other name is itself.
std::string device_of_process(const std::string& name, int number);

/// Waits until the work queued on `device` is done; returns at once for a CPU.
void synchronize(at::Device device);

/// Whether `device` multiplies bfloat16 in hardware: a CPU with AVX512-bf16 (every CPU with AMX-bf16 has it), a GPU of
/// compute capability 8.0 or later.
bool has_fast_bfloat16(at::Device device);

/// The same as a function of the device's type and, for CUDA, the major number of its compute capability (0: unknown,
/// which counts as without).
bool has_fast_bfloat16(at::DeviceType type, int major);

/// What `--dtype auto` computes in: bfloat16 where the device is fast at it, unless the weights are stored in float32
/// and are so few (`parameters` below 100 million) that bfloat16 would save little; else float32. Never float16, whose
/// range the text encoder may exceed.
at::ScalarType auto_dtype(bool fast_bfloat16, at::ScalarType stored, int64_t parameters);

/// What a network computes in.
struct Precision {
  at::ScalarType dtype;
  bool int8 = false;  ///< weights of blocks and what they are multiplied with are quantized (Param::takes_int8)
};

/// The precision of a network that takes int8: choose_dtype, and kInt8Dtype, with which everything else is bfloat16
/// where the CPU has it, else float32. Throws Error for kInt8Dtype on another device too.
Precision choose_precision(const std::string& name, at::Device device, at::ScalarType stored, int64_t parameters);

/// The dtype of any name in core/dtype.h; "auto" is auto_dtype. Throws Error for fp16 on a CPU, whose kernels lack it,
/// for bf16 on a GPU that is known to lack it, and for any other name.
at::ScalarType choose_dtype(const std::string& name, at::Device device, at::ScalarType stored, int64_t parameters);

}  // namespace tessera
