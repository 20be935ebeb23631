#pragma once

#include <filesystem>

#include "training/vae_trainer.h"

namespace tessera {

/// How the colors of rendered scenes follow from their latents.
struct RgbFit {
  LatentRgb rgb;    ///< rounded to four decimals
  double psnr = 0;  ///< of the colors in [-1, 1] at the latents' resolution, in decibels
};

/// The least-squares fit of the colors of rendered stills and clips, averaged over what a latent cell covers in space
/// and time, on their latents, normalized by `statistics`; the weights are on `device`. Throws Error when a value is
/// not finite.
RgbFit fit_latent_rgb(const WanVae& vae, const LatentStatistics& statistics, const SceneRenderer& renderer,
                      int64_t side, int64_t frames, at::ScalarType dtype, at::Device device = at::kCPU);

/// Puts the fit into an autoencoder's config, under the keys of read_latent_rgb.
void set_latent_rgb(nlohmann::json& config, const LatentRgb& rgb);

/// Fits the autoencoder of a WanPipeline directory to scenes of its default size and rewrites its config.json; returns
/// the fit. Throws Error like open_model_dir and bind.
RgbFit fit_model_rgb(const std::filesystem::path& folder);

}  // namespace tessera
