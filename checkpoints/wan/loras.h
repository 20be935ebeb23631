#pragma once

#include <string>

#include "checkpoints/lora.h"
#include "checkpoints/wan/model.h"

namespace tessera {

/// The networks of a model that LoRAs may change, as LoraWeights calls them.
inline constexpr const char* kLoraTransformer = "transformer";
inline constexpr const char* kLoraTextEncoder = "text_encoder";

/// The names of a transformer's layers in diffusers, PEFT, Wan's own code, ComfyUI, and kohya's and musubi's programs.
LoraNames lora_names(const WanTransformerConfig& config);
/// The names of a text encoder's layers in transformers, PEFT, Wan's own code, ComfyUI and kohya's programs.
LoraNames lora_names(const Umt5Config& config);

/// The LoRAs of a text-to-video model: of its transformer and its text encoder.
LoraShelf lora_shelf(const WanModel& model);

/// A warning when a LoRA that knows only softmax attention changes layers that have another here; "" otherwise.
std::string softmax_warning(const OpenedLora& lora, const WanTransformerConfig& config);

}  // namespace tessera
