#include "core/manifest_lines.h"

#include <algorithm>
#include <fstream>
#include <regex>

#include "core/error.h"

namespace tessera {

namespace fs = std::filesystem;

fs::path manifest_path(const fs::path& folder) {
  return folder / "manifest.jsonl";
}

fs::path shard_path(const fs::path& folder, int rank) {
  return folder / ("manifest.rank" + std::to_string(rank) + ".jsonl");
}

std::vector<fs::path> find_shards(const fs::path& folder) {
  static const std::regex name(R"(manifest\.rank[0-9]+\.jsonl)");
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && std::regex_match(entry.path().filename().string(), name))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

void for_each_manifest_line(const fs::path& path, const std::function<void(ManifestLine)>& visit) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error("cannot read " + path.string());
  for (std::string text; std::getline(in, text);) {
    nlohmann::json entry = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    const auto id = entry.is_object() ? entry.find("id") : entry.end();
    if (id == entry.end() || !id->is_string()) entry = nullptr;
    visit({.text = std::move(text), .complete = !in.eof(), .entry = std::move(entry)});
  }
}

}  // namespace tessera
