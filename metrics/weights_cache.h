#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// Where weights of scoring networks are looked for, in order: the folder weights of $TESSERA_CACHE (or of
/// $XDG_CACHE_HOME/tessera, or ~/.cache/tessera), then $TORCH_HOME/hub/checkpoints (or ~/.cache/torch/hub/checkpoints),
/// where the field's Python tools keep them.
std::vector<std::filesystem::path> weights_folders();

/// A file that a score is defined by.
struct PublishedWeights {
  std::string what;                ///< e.g. "the I3D network of FVD"
  std::vector<std::string> names;  ///< file names under which it goes round, the usual one first
  std::string origin;              ///< where it comes from, in words
  std::string sha256;
  std::string flag;  ///< how a file is named on the command line, e.g. "--extractor FILE"
};

/// The file that was found, and how sure one may be of it.
struct FoundWeights {
  std::filesystem::path path;
  std::string sha256;
  bool published = false;  ///< its hash is the published one
};

/// The file `chosen`, or when that is empty the first of the names in weights_folders(). Throws Error that says which
/// file is wanted, where it comes from, its hash and where to put it.
FoundWeights find_weights(const PublishedWeights& wanted, const std::string& chosen);

}  // namespace tessera
