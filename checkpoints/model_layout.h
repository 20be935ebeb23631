#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "weights/model_dir.h"

namespace tessera {

/// How the files of a model lie on the disk, and the model seen as a pipeline directory whatever that is: its
/// components carry their files and their configs in the keys of diffusers and transformers.
struct ModelLayout {
  std::string name;  ///< "diffusers", "wan" (Wan 2.1's own release), "wan-mhla" (DAGroup-PKU's checkpoints), or "dit"
                     ///< and "dit-mhla" (checkpoints of facebookresearch's and MHLA's DiT)
  ModelDir model;    ///< the parts that were found
  std::vector<std::string> missing;     ///< what is still needed to render, a sentence each; empty: nothing
  std::vector<std::string> notes = {};  ///< for the user

  /// Throws one Error that lists everything missing and ends in `advice`.
  void require_complete(const std::string& advice = "") const;
};

/// Recognizes the layout of a model by its files' names and headers; no weights are read. `path` is a folder or, for
/// checkpoints in one file, that file. Throws Error when it is no model (saying what it looks like), and when a config
/// is malformed, is of a model that this program does not run (image to video, Wan 2.2), or contradicts the weights.
ModelLayout recognize_layout(const std::filesystem::path& path);

}  // namespace tessera
