#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "training/counter_rng.h"
#include "training/scenes.h"

namespace tessera {

/// Pictures with classes, held in memory.
struct LabeledPictures {
  at::Tensor pixels;               ///< [N, 3, S, S] uint8
  at::Tensor labels;               ///< [N] int64
  std::vector<std::string> names;  ///< of the classes

  int64_t size() const { return labels.size(0); }
  /// The rows `rows` [n] int64.
  LabeledPictures rows(const at::Tensor& rows) const;
};

/// A set in two parts; the held-out part is never trained on.
struct SplitPictures {
  LabeledPictures training, held_out;
};

/// A folder with one folder of pictures a class, cut and resized by classifier_square. Of each class every
/// `held_out_every`th picture, in the order of the names, is held out. Throws Error naming the folder when it has fewer
/// than two classes or a class has fewer than `held_out_every` pictures, and as read_picture does.
SplitPictures read_labeled_folder(const std::filesystem::path& folder, int64_t side, int64_t held_out_every);

/// Rendered scenes, each a moment of a still or a clip, by their shape; the held-out part is of other scenes.
SplitPictures render_labeled_scenes(const SceneRenderer& renderer, int64_t side, int64_t training, int64_t held_out);

/// How training pictures are varied.
struct Augmentation {
  double degrees = 10;  ///< turned by up to so much either way
  double scale = 0.1;   ///< sides by 1 -+ up to so much
  double shift = 0.08;  ///< of the side, each way
  bool flip = false;    ///< half of them mirrored
};

/// images [B, 3, S, S] float32, each turned, scaled, shifted and flipped by its own draw of `rng`; bilinear, the border
/// continued. Returns the same shape.
at::Tensor augmented(const at::Tensor& images, const Augmentation& augmentation, CounterRng& rng);

}  // namespace tessera
