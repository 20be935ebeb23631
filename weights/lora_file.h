#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "weights/safetensors.h"

namespace tessera {

/// What a LoRA file holds for one layer.
struct LoraLayer {
  at::Tensor down;       ///< [rank, in, ...]; undefined when the layer has no pair
  at::Tensor up;         ///< [out, rank, ...]
  at::Tensor up_bias;    ///< [out], PEFT's lora_bias: added to the bias, scaled as the pair is
  at::Tensor diff;       ///< `.diff`: added to the weight, in its shape
  at::Tensor diff_bias;  ///< `.diff_b`: added to the bias, [out]
  std::optional<double> alpha;
  double scale = 1;               ///< of the pair: alpha / rank, 1 without an alpha
  std::vector<std::string> keys;  ///< of all these in the file, sorted

  int64_t rank() const { return down.defined() ? down.size(0) : 0; }
};

/// A LoRA as its file has it, layer by layer under the names of its layout: "transformer.blocks.0.attn1.to_q",
/// "diffusion_model.blocks.0.self_attn.q", "lora_unet_blocks_0_self_attn_q". Which weights they are is found by
/// checkpoints/lora.h.
struct LoraFile {
  std::string where;  ///< the file as the user named it
  std::map<std::string, LoraLayer> layers;
  std::vector<std::string> unknown;               ///< tensors that are no part of a LoRA by their names
  std::map<std::string, std::string> metadata;    ///< of the header
  std::map<std::string, std::string> settings;    ///< what adapter_config.json says of its origin, for `tessera info`
  std::vector<std::filesystem::path> files = {};  ///< what was read: the file, and PEFT's adapter_config.json beside it
};

/// The largest alpha / rank that is believed.
constexpr double kLargestLoraScale = 65536;

/// How much of a file is looked at.
enum class LoraCheck {
  kHeaders,  ///< names, shapes, dtypes and alphas
  kNumbers   ///< every number too
};

/// Whether tensors of these names are a LoRA's: a pair, a difference, or a kind that is not supported.
bool holds_lora(const TensorFile& file);

/// Reads a LoRA: safetensors or an archive of torch.save, or a folder with adapter_model.safetensors (PEFT) or
/// pytorch_lora_weights.safetensors (diffusers). An alpha comes from the layer's own `.alpha`, else from
/// `lora_adapter_metadata` of the header (diffusers), else from adapter_config.json beside adapter_model.safetensors.
/// Throws Error naming file and tensor: no LoRA at all, LoHa, LoKr or DoRA, half a pair, ranks that differ or are 0,
/// an alpha that is no number or absurd, numbers that are not floating-point or, with kNumbers, not finite.
LoraFile read_lora_file(const std::filesystem::path& path, LoraCheck check = LoraCheck::kNumbers);

}  // namespace tessera
