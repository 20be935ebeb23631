#pragma once

#include <string>
#include <vector>

#include "core/json_config.h"

namespace tessera {

/// One size and length that a denoiser is trained on, with how many scenes of it are kept and how many make a step.
struct SceneSize {
  int64_t width = 128, height = 128;
  int64_t frames = 1;  ///< 1: stills
  int64_t count = 1;   ///< scenes encoded once and kept in memory
  int64_t batch = 1;
  double share = 1;  ///< how often it is drawn among those of its kind, stills or clips

  bool video() const { return frames > 1; }
  /// "192x96" or "192x96, 17 frames".
  std::string text() const;
  /// The file of its latents in the run's folder: "latents_192x96x17.safetensors".
  std::string file() const;
};

/// The list "scene_sizes" of a training config: [{"width": 192, "height": 96, "frames": 17, "count": 512, "batch": 8,
/// "share": 1}, ...]; frames and share may be absent. Throws Error naming the file, the entry and the key, also for a
/// size that is listed twice.
std::vector<SceneSize> read_scene_sizes(const JsonConfig& json, const std::string& key);

/// The index of the size to train next, of stills or of clips, for `draw` in [0, 1): each as often as its share says.
/// Throws c10::Error when there is none of that kind.
size_t choose_scene_size(const std::vector<SceneSize>& sizes, bool video, double draw);

/// Throws Error naming `where` unless every size is a whole number of latent cells and patches (`space` pixels) and
/// its frames are 1 + a multiple of `time`.
void check_scene_sizes(const std::vector<SceneSize>& sizes, int64_t space, int64_t time, const std::string& where);

}  // namespace tessera
