#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "weights/safetensors.h"

namespace tessera {

/// What the training YAML of DAGroup-PKU's video project, or a config.json with an `attention` object, says about an
/// MHLA checkpoint.
struct MhlaSettings {
  nlohmann::json attention;                  ///< complete; see AttentionConfig
  nlohmann::json defaults;                   ///< size, length, steps, guidance and shift set by the YAML
  std::vector<std::filesystem::path> parts;  ///< paths of autoencoder and text encoder as written in the YAML
  std::filesystem::path source;              ///< the file that was read; empty when none was needed
};

/// `config` is transformer_config_of(file), which has an `attention` object; `folders` are searched in turn for the
/// settings that shapes do not tell. Throws one Error that names every unknown setting and says where to put it, and
/// Error when a file contradicts the weights or requires attention that this program does not have.
MhlaSettings find_mhla_settings(const TensorFile& file, const JsonConfig& config,
                                const std::vector<std::filesystem::path>& folders);

/// The part of that training YAML which says what the attention of a transformer with this config is, so that weights
/// under the names of Wan's own code can be loaded by the project. Throws Error for what it does not have: another kind
/// of attention, a normalizer of sums, blocks of fixed size, a mixing matrix that is not learned directly, positions
/// that are learned.
std::string mhla_training_yaml(const JsonConfig& transformer);

}  // namespace tessera
