#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weights/model_dir.h"

namespace tessera {

struct Job;

/// What the user says of a model besides its path.
struct ModelOptions {
  std::string vae;                         ///< folder or file of an autoencoder; "" takes the model's own
  std::optional<int64_t> block_size = {};  ///< tokens in a block of MHLA, for checkpoints that do not say
};

/// The part of a job that says more of its model.
ModelOptions model_options(const Job& job);

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

}  // namespace tessera
