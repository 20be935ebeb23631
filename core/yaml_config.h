#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace tessera {

/// Reads a YAML file as JSON, by the rules of parse_located_yaml. Throws Error naming the file, and the line, when it
/// is not valid YAML, is not a map, or gives a key twice.
nlohmann::json read_yaml_object(const std::filesystem::path& path);

}  // namespace tessera
