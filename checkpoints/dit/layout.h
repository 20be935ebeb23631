#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/model_layout.h"

namespace tessera {

/// The model as a pipeline directory of class DiTPipeline, whatever its layout; nullopt for anything else. Layouts:
/// "diffusers"; "dit" and "dit-mhla", a checkpoint of facebookresearch's or MHLA's DiT in one file, whose autoencoder
/// is missing unless `options` name it. Throws
/// Error for a checkpoint that contradicts itself or the options.
std::optional<ModelLayout> recognize_dit_layout(const std::filesystem::path& path, const ModelOptions& options = {});

/// A separate autoencoder: a folder with the config.json of an AutoencoderKL, a pipeline directory with such a vae, or
/// a file of weights (with config.json beside it, else assumed to have Stable Diffusion's sizes).
Component open_autoencoder_kl(const std::filesystem::path& given);

}  // namespace tessera
