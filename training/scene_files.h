#pragma once

#include <cstdint>
#include <filesystem>

namespace tessera {

/// A training set of rendered scenes as files.
struct SceneFilesPlan {
  std::filesystem::path folder;
  uint64_t seed = 1;  ///< scene i is sample_scene(seed, i)
  int64_t clips = 32, stills = 32;
  int64_t side = 128, frames = 17, fps = 8;
};

/// Writes clips (clip_0000.mkv, lossless) and stills (still_0000.png) with their captions beside them, in the wordings
/// in turn: data for `tessera train prepare` to try it with. Equal plans give equal pixels. Throws Error when a file
/// cannot be written.
void write_scene_files(const SceneFilesPlan& plan);

}  // namespace tessera
