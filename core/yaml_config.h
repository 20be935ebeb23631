#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace tessera {

/// Reads a YAML file as JSON: plain scalars become null, booleans, numbers or texts by YAML 1.2's core schema, quoted
/// ones texts. Throws Error naming the file, and the line, when it does not parse, is not a map, names a key twice, has
/// an alias or more than one document, or nests deeper than 100.
nlohmann::json read_yaml_object(const std::filesystem::path& path);

}  // namespace tessera
