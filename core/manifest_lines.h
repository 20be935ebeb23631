#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tessera {

/// The record of a batch's output folder, and that of one rank among several, which rank 0 merges into it at the end.
std::filesystem::path manifest_path(const std::filesystem::path& folder);
std::filesystem::path shard_path(const std::filesystem::path& folder, int rank);
/// The ranks' records in a folder that have not been merged, sorted.
std::vector<std::filesystem::path> find_shards(const std::filesystem::path& folder);

/// A line of such a record. The last line about an id counts.
struct ManifestLine {
  std::string text;      ///< without its newline
  bool complete = true;  ///< false for a last line without a newline: its writer was killed, or is still writing
  nlohmann::json entry;  ///< an object with a text "id"; null when the line holds none
};

/// Calls `visit` with every line of a record, in order. Throws Error (usage) when the file cannot be opened.
void for_each_manifest_line(const std::filesystem::path& path, const std::function<void(ManifestLine)>& visit);

}  // namespace tessera
