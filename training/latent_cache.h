#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <vector>

#include "training/counter_rng.h"
#include "training/scene_model.h"
#include "training/scenes.h"

namespace tessera {

/// Encoded scenes held in memory: latents[i] belongs to sample_scene(seed, i, video).
struct LatentCache {
  uint64_t seed = 0;
  bool video = false;
  at::Tensor latents;  ///< [N, z, t, h, w] bfloat16, normalized

  int64_t size() const { return latents.size(0); }
  Scene scene(int64_t i) const { return sample_scene(seed, static_cast<uint64_t>(i), video); }
  /// The rows whose scene moves that way, ascending.
  std::vector<int64_t> rows_of(Motion motion) const;
};

/// A row of the cache. With probability `spin_part` it is one of `spinning`, unless that is empty, else any.
int64_t draw_row(const LatentCache& cache, const std::vector<int64_t>& spinning, double spin_part, CounterRng& rng);

/// What a LatentCache holds, and where it is kept between runs.
struct LatentCachePlan {
  std::filesystem::path file;
  uint64_t seed = 0;
  bool video = false;
  int64_t count = 0, frames = 1, height = 128, width = 128;
};

/// Reads the cache's file if it was made by the same autoencoder with the same plan; otherwise renders and encodes the
/// scenes and writes it (an interrupted encoding starts over). Says what it does on stderr.
LatentCache load_latents(const SceneModel& model, const SceneRenderer& renderer, const LatentCachePlan& plan);

}  // namespace tessera
