#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "core/json_config.h"
#include "weights/safetensors.h"

namespace tessera {

/// What the training yaml of DAGroup-PKU's video project, or a config.json with an `attention` object, says about an
/// MHLA checkpoint.
struct MhlaSettings {
  nlohmann::json attention;                  ///< complete; see AttentionConfig
  nlohmann::json defaults;                   ///< size, length, steps, guidance and shift that the yaml sets
  std::vector<std::filesystem::path> parts;  ///< where the yaml says that autoencoder and text encoder lie, as written
  std::filesystem::path source;              ///< the file that was read; empty: none was needed
};

/// `config` is transformer_config_of(file), which has an `attention` object; `folders` are searched in turn for the
/// settings that shapes do not say. Throws one Error that names every setting that cannot be known and says where to
/// put it, and Error when a file found contradicts the weights or asks for attention that this program does not have.
MhlaSettings find_mhla_settings(const TensorFile& file, const JsonConfig& config,
                                const std::vector<std::filesystem::path>& folders);

}  // namespace tessera
