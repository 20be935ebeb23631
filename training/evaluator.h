#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "training/scenes.h"

namespace tessera {

/// What the rules see in a picture or clip; indices as in Scene, -1 where nothing stands out from the background.
struct Observation {
  int64_t background = -1, color = -1, shape = -1;
  Motion motion = Motion::kStill;
  double match = 0;  ///< overlap of the silhouette with the best template, 0 to 1
};

/// Reads scenes back from pixels by fixed rules:
/// background: the palette color nearest to the median of the frames' borders; color: nearest to the median of the
/// pixels that differ most from it; motion: the silhouette's center moved by more than 0.15 of the frame's side, or
/// else its area changed by more than a factor 1.6, or else it turned; shape: the template with the largest overlap
/// (intersection over union) after center and size are taken out, over rotations where it turns.
class SceneReader {
 public:
  explicit SceneReader(const SceneRenderer& renderer);

  /// frames: [3, T, H, W] in [-1, 1]. A single frame has no motion (kStill).
  Observation read(const at::Tensor& frames) const;

 private:
  at::Tensor templates_;  // [shapes, angles, kSide * kSide]
};

/// How many scenes match their prompts.
struct Score {
  struct Part {
    int64_t right = 0, total = 0;
  };
  int64_t total = 0, background = 0, color = 0, shape = 0, motion = 0, all = 0;
  std::map<int64_t, Part> shapes;  ///< of the scenes with each shape, those whose shape is right
  std::map<Motion, Part> motions;  ///< of the clips with each motion, those whose motion is right

  void add(const Scene& wanted, const Observation& seen);
  /// "152 of 200 (76.0%) all correct: background 99.0%, color 97.5%, shape 80.0%, motion 95.0%".
  std::string text() const;
  /// "shapes: star 9 of 10, heart 8 of 8, ..." and, of clips, a line of motions; each line ends with a newline.
  std::string text_by_kind() const;
};

/// Makes frames [3, T, H, W] in [-1, 1] for prompts with the given seeds; `video` false asks for single pictures.
using MakeFrames = std::function<std::vector<at::Tensor>(const std::vector<std::string>& prompts,
                                                         const std::vector<uint64_t>& seeds, bool video)>;

/// One part of an evaluation: prompts of `count` scenes of a split, seeds 0, 1, ..., in batches.
struct EvaluationPlan {
  Split split = Split::kTraining;
  bool video = true;
  int64_t count = 200, batch = 8;
};

/// Prompts are captions of the plan's fixed scenes. Calls `on_scene` with every result.
Score evaluate(const SceneReader& reader, const MakeFrames& make, const EvaluationPlan& plan,
               const std::function<void(const Scene& wanted, const Observation& seen)>& on_scene = {});

}  // namespace tessera
