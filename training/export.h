#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "core/params.h"

namespace tessera {

/// Writes FOLDER/config.json and FOLDER/WEIGHTS_NAME: the listed weights in bfloat16, each file atomically.
/// Makes the folder; throws Error when that or the writing fails.
void write_component(const std::filesystem::path& folder, const nlohmann::json& config, const ParamList& params,
                     const std::string& weights_name);

/// Makes a folder and its parents. Throws Error naming it when it cannot be made.
void make_folder(const std::filesystem::path& folder);

/// Writes `value`, indented, atomically.
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

}  // namespace tessera
