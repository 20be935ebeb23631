#include "metrics/made_by.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace tessera {

std::string made_by_text(const MadeBy& made_by) {
  // Names of files need not be UTF-8.
  return nlohmann::json(made_by).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

MadeBy read_made_by(const NpzFile& file) {
  const auto text = file.text(kMadeByArray);
  if (!text) return {};
  const nlohmann::json parsed = nlohmann::json::parse(*text, nullptr, false);
  if (!parsed.is_object()) throw Error(file.where() + ": its text \"tessera\" is no JSON object: the file is damaged");
  MadeBy made_by;
  for (const auto& [key, value] : parsed.items())
    if (value.is_string()) made_by[key] = value.get<std::string>();
  return made_by;
}

bool check_made_by(const MadeBy& said, const std::filesystem::path& path, const MadeBy& wanted) {
  const auto agree_on = [&](const std::string& key) {
    const auto found = said.find(key), sought = wanted.find(key);
    return found != said.end() && sought != wanted.end() && found->second == sought->second;
  };
  bool tells = false;
  for (const auto& [key, value] : wanted) {
    const auto found = said.find(key);
    if (found == said.end()) continue;
    tells = true;
    if (key == "dtype" || found->second == value || (key == "extractor" && agree_on("weights"))) continue;
    throw Error(path.string() + " was made with " + key + " " + found->second + ", this run uses " + value +
                ": the two cannot be compared; make the file again or choose the same " + key);
  }
  return tells;
}

}  // namespace tessera
