#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/support/files.h"

namespace tessera::test {

/// Adds every key of a JSON value to `keys`, those of the objects inside too.
inline void collect_keys(const nlohmann::json& value, std::set<std::string>& keys) {
  if (value.is_object())
    for (const auto& [key, inner] : value.items()) keys.insert(key), collect_keys(inner, keys);
  if (value.is_array())
    for (const auto& inner : value) collect_keys(inner, keys);
}

/// The keys of what a command printed that docs/metrics.md does not name.
inline std::set<std::string> keys_absent_from_docs(const std::string& json) {
  std::set<std::string> keys;
  collect_keys(nlohmann::json::parse(json), keys);
  const std::string docs = read_text(std::filesystem::path(TESSERA_SOURCE_DIR) / "docs/metrics.md");
  std::erase_if(keys, [&](const std::string& key) { return contains(docs, "`" + key + "`"); });
  return keys;
}

}  // namespace tessera::test
