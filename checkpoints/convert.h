#pragma once

#include <ATen/core/ScalarType.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/component.h"
#include "checkpoints/family.h"
#include "core/job.h"
#include "kernels/packed.h"

namespace tessera {

struct ConvertRequest {
  std::filesystem::path input;
  std::filesystem::path output;           ///< a folder that does not exist yet
  std::optional<at::ScalarType> dtype;    ///< of floating-point weights; absent: as they are stored
  std::optional<PackedType> packed = {};  ///< of the matrices of denoiser and text encoder (see matrices_of)
  ModelOptions options;
  ClassifierOptions classifier;     ///< heads and power, for a classifier alone
  std::vector<LoraUse> loras = {};  ///< merged into the weights, in this order, in float32, rounded once
  bool mhla_release = false;        ///< the transformer alone, as the MHLA repository keeps it
  bool incomplete = false;          ///< write the parts that are there although the model lacks others
};

/// What quantized matrices are called: fp8, int8, q8_0, ...
std::vector<std::string> quantized_names();

/// Sets how weights are stored: "keep", a dtype's name, or one of quantized_names. Throws Error for any other.
void set_storage(ConvertRequest& request, const std::string& name);

struct ConvertResult {
  std::string layout;              ///< of the input
  std::vector<std::string> parts;  ///< that were written
  int64_t bytes = 0;               ///< of all written files
};

/// With `mhla_release` the folder gets model.safetensors, a Wan-MHLA transformer under the names of Wan's own code, and
/// mhla.yaml (see mhla_training_yaml), and nothing is quantized. Else:
/// Writes a model as a pipeline directory of diffusers' layout: model_index.json, configs, safetensors (in shards where
/// diffusers would), scheduler and tokenizer. One network by itself becomes a folder of config.json and weights, as
/// such a directory has one for each part. Every part is read back and compared with its source bit for bit before
/// the folder gets its name; until then, and after an error, there is only a hidden `.NAME.PID.part` beside it, which
/// an error removes and which is never one that an earlier run left. Matrices are quantized where `packed` is set;
/// those whose rows are no whole number of its blocks become Q8_0, or stay plain. Without `packed` and `dtype`
/// quantized weights stay as they are. fp8 and int8 go to safetensors, blocks to GGUF: see write_packed. `tell` gets a
/// line for each part and note. Throws Error when the model lacks parts, the folder exists, the disk has no room, or a
/// weight does not fit the dtype (naming it), for LoRAs of a family that takes none, and what LoraShelf::open throws.
ConvertResult convert_model(const ConvertRequest& request, Families families,
                            const std::function<void(const std::string&)>& tell);

}  // namespace tessera
