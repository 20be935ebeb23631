#pragma once

#include <optional>

#include "checkpoints/model_layout.h"

namespace tessera {

/// A Wan model, for text or images to video, outside diffusers' layout; nullopt for anything else.
///
/// "wan": the folder of the original release (config.json of WanModel, diffusion_pytorch_model*.safetensors, in shards
/// or not, Wan2.1_VAE.pth, models_t5_umt5-xxl-enc-bf16.pth, google/umt5-xxl/spiece.model), or one file of such a
/// transformer, also in ComfyUI's form, quantized or not, and as GGUF. Image models also need
/// models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth, Wan 2.2's TI2V has Wan2.2_VAE.pth, and its A14B two folders
/// high_noise_model and low_noise_model, which become transformer and transformer_2. The text encoder may also be the
/// one file of the folder whose name begins with umt5, quantized or as GGUF.
///
/// "wan-mhla": a checkpoint of DAGroup-PKU's video project, given as a file (safetensors, or a PyTorch archive with a
/// state_dict) or as a folder that holds one. Its layers with softmax attention, its gate and LePE are known from the
/// tensor names; block layout, normalizer, size and shift come from the training YAML, or from a config.json with an
/// `attention` object beside the checkpoint. The YAML is looked for beside the checkpoint, then in configs/ there and
/// in the three folders above.
///
/// Parts that a folder lacks are taken from a Wan 2.1 release (either layout): where the YAML says, in a subfolder, in
/// pretrained_models/, or in a folder Wan2.1-T2V-1.3B or Wan2.1-T2V-1.3B-Diffusers beside it.
std::optional<ModelLayout> recognize_wan_layout(const std::filesystem::path& path);

/// The same, and "diffusers" for a pipeline directory of class WanPipeline or WanImageToVideoPipeline.
std::optional<ModelLayout> recognize_wan_model(const std::filesystem::path& path);

}  // namespace tessera
