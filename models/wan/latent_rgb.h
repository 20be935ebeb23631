#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <vector>

#include "core/json_config.h"

namespace tessera {

/// The nearest linear map from latents to colors: a rough picture of an unfinished latent for next to no work.
struct LatentRgb {
  std::vector<std::array<double, 3>> factors;  ///< [C], red, green and blue of each latent channel; empty: no map
  std::array<double, 3> bias{};                ///< colors are in [-1, 1]

  /// Normalized latents [B, C, ...] as samplers have them -> [B, 3, ...] in [0, 1], float32. Throws c10::Error without
  /// factors.
  at::Tensor operator()(const at::Tensor& latents) const;
};

/// The keys `latent_rgb_factors` ([[r, g, b], ...], one row per latent channel) and `latent_rgb_factors_bias` of an
/// autoencoder's config, under the names and with the meaning that ComfyUI gives them. Without them, Wan 2.1's own
/// when `wan21` says that the latents are its, else none. Throws Error naming file and key for any other form.
LatentRgb read_latent_rgb(const JsonConfig& json, int64_t channels, bool wan21);

}  // namespace tessera
