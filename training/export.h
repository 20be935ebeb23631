#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/params.h"
#include "weights/model_dir.h"

namespace tessera {

/// Writes a network's folder with the listed weights in bfloat16. `component.folder` and its parents are created.
void export_component(const Component& component, const nlohmann::json& config, const ParamList& params);

/// Creates a folder and its parents. Throws Error naming it when that fails.
void make_folder(const std::filesystem::path& folder);

/// Writes `value`, indented, atomically.
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

}  // namespace tessera
