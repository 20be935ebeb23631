#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>

#include "core/params.h"
#include "weights/lora_file.h"

namespace tessera {

/// What a LoRA adds to one parameter.
struct LoraTerm {
  const LoraFile* file;  ///< for messages
  const LoraLayer* layer;
  std::string layer_name;  ///< in the file
  bool to_bias = false;    ///< the parameter is the layer's bias, else its weight
  double strength = 1;
};

/// Throws Error naming the file, the layer and both shapes unless the layer's tensors fit `param`: the pair's product
/// (of a convolution: over the flattened kernel) and a `.diff` the weight, the others the bias. Allocates nothing.
void check_lora_shape(const LoraTerm& term, const Param& param);

/// What the term adds: strength * (scale * up down + diff), or for a bias strength * (scale * up_bias + diff_bias), in
/// float32 and the shape `shape`, which check_lora_shape has found to fit. Source: LoRA, arXiv:2106.09685.
at::Tensor lora_delta(const LoraTerm& term, at::IntArrayRef shape);

/// Sets a parameter to what `base` holds with `terms` added in order, computed in float32 on the CPU and rounded once
/// to `dtype` (float32 for keep_float). `base` is the parameter as the model's file has it, so that without terms the
/// slot gets exactly what bind gave it. A slot that bind quantized for int8 products is quantized again from the sum;
/// one that it left packed stays so, and gets the pairs beside it (PackedWeight::added), which join its numbers in
/// float32 wherever these are unpacked. Throws Error when the sum is not finite, and for a difference of a whole matrix
/// (.diff) over a packed one.
void set_with_loras(const Param& param, const at::Tensor& base, std::span<const LoraTerm> terms, at::ScalarType dtype,
                    at::Device device);

}  // namespace tessera
