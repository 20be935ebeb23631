#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/params.h"

namespace tessera {

/// Which layers a LoRA is trained for, and how large it is. Source: arXiv:2106.09685, and PEFT's LoraConfig.
struct LoraSettings {
  int64_t rank = 16;
  double alpha = 16;  ///< the product is scaled by alpha / rank
  /// A layer is chosen when its name is one of these or ends in "." and one of these, as PEFT does it.
  std::vector<std::string> targets = {"to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"};
};

/// Gives every chosen layer its thin matrices and lists them as diffusers names them, "LAYER.lora_A.weight" [rank, in],
/// at first uniform in 1 / sqrt(in), and "LAYER.lora_B.weight" [out, rank], at first zero (PEFT's own start). The slots
/// are the network's; fill them with initialize(). Throws Error for a target that no layer has, naming those that can
/// be chosen.
ParamList add_lora(const ParamList& params, const LoraSettings& settings);

/// Writes pytorch_lora_weights.safetensors as diffusers' save_lora_weights has it, with rank, alpha and targets in the
/// header, in `dtype`. Equal input gives equal bytes.
void write_lora(const std::filesystem::path& file, const ParamList& lora, const LoraSettings& settings,
                at::ScalarType dtype);

}  // namespace tessera
