#pragma once

#include <ATen/core/ScalarType.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <vector>

// What LibTorch is told about a GPU: the one place for its switches.
namespace tessera {

/// The attention kernels in the order in which a GPU of this compute capability (major number; 0: unknown) should try
/// them, as at::SDPBackend: cuDNN's first from Hopper (9) on, FlashAttention first on Ampere and Ada (8), and before
/// those memory-efficient attention, the only fused kernel there. Every back end is listed once.
std::vector<int64_t> attention_order(int major);

/// Called once, when a GPU is opened: attention_order, no TF32 (cuDNN's is on by default), and cuDNN may time its
/// convolution algorithms for each shape.
void apply_gpu_settings(int major);

/// A network that computes in `dtype` is on a GPU. Where all of them are bfloat16 or float16, the float32 products
/// beside them (text scores, sums of features) may use TF32, which has more digits than either. With one float32
/// network TF32 stays off: --dtype fp32 is exact.
void note_network_dtype(at::ScalarType dtype);

/// What is computed from here on is compared with other programs' numbers (FID, FVD, a classifier): no TF32 in this
/// process any more, and cuDNN takes its default algorithms, the same in every run.
void require_exact_products();

/// The dtype of a text encoder for --dtype `name` on a device that is (not) fast at bfloat16: UMT5's values leave
/// float16's range, so fp16 becomes bf16, or fp32 where that is slow; any other name is itself.
std::string text_encoder_dtype(const std::string& name, bool fast_bfloat16);

/// The dtype of an autoencoder for --dtype `name`: auto is fp32 on a CPU, and on a GPU what auto is there.
std::string autoencoder_dtype(const std::string& name, at::Device device);

}  // namespace tessera
