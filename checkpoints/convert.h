#pragma once

#include <ATen/core/ScalarType.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/component.h"
#include "checkpoints/family.h"

namespace tessera {

struct ConvertRequest {
  std::filesystem::path input;
  std::filesystem::path output;         ///< a folder that does not exist yet
  std::optional<at::ScalarType> dtype;  ///< of floating-point weights; absent: as they are stored
  ModelOptions options;
  ClassifierOptions classifier;  ///< heads and power, for a classifier alone
  bool incomplete = false;       ///< write the parts that are there although the model lacks others
};

struct ConvertResult {
  std::string layout;              ///< of the input
  std::vector<std::string> parts;  ///< that were written
  int64_t bytes = 0;               ///< of all written files
};

/// Writes a model as a pipeline directory of diffusers' layout: model_index.json, configs, safetensors (in shards where
/// diffusers would), scheduler and tokenizer. One network by itself becomes a folder of config.json and weights, as
/// such a directory has one for each part. Every part is read back and compared with its source bit for bit before
/// the folder gets its name; until then, and after an error, there is only a hidden `.NAME.PID.part` beside it, which
/// an error removes and which is never one that an earlier run left. `tell` gets a line for each part and note. Throws
/// Error when the model lacks parts, the folder exists, the disk has no room, or a weight does not fit the dtype
/// (naming it).
ConvertResult convert_model(const ConvertRequest& request, Families families,
                            const std::function<void(const std::string&)>& tell);

}  // namespace tessera
