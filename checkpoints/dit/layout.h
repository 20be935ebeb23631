#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/model_layout.h"

namespace tessera {

/// What the user says of a class-conditional model besides its path.
struct DitOptions {
  std::string vae;                    ///< folder or file of an autoencoder; "" takes the model's own
  std::optional<int64_t> block_size;  ///< see read_dit_checkpoint
};

/// Whether `path` is a class-conditional model: a diffusers directory of a DiTPipeline, or one file of
/// facebookresearch's or MHLA's DiT.
bool is_dit_model(const std::filesystem::path& path);

/// The model as a pipeline directory of class DiTPipeline, whatever its layout; nullopt when it is something else.
/// Layouts: "diffusers"; "dit" and "dit-mhla", one file, whose autoencoder is missing unless `options` name it. Throws
/// Error for a checkpoint that contradicts itself or the options.
std::optional<ModelLayout> recognize_dit_layout(const std::filesystem::path& path, const DitOptions& options = {});

/// An autoencoder given by itself: a folder with config.json of an AutoencoderKL, a pipeline directory with such a vae,
/// or one file of weights (with config.json beside it, else of Stable Diffusion's sizes).
Component open_autoencoder_kl(const std::filesystem::path& path);

}  // namespace tessera
