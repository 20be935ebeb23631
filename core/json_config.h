#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"

namespace tessera {

/// Reads a whole JSON file; Infinity and -Infinity, which Python writes and JSON lacks, become null. Throws Error
/// naming the file, and line and column when it does not parse or is not an object.
nlohmann::json read_json_object(const std::filesystem::path& path);

/// Typed access to one JSON object; every error names the file and the key.
/// Numbers written as 1.0 are accepted for integers when they are whole.
class JsonConfig {
 public:
  /// `where` names the file (and the path inside it) for messages; `object` must be a JSON object.
  JsonConfig(nlohmann::json object, std::string where);
  static JsonConfig read(const std::filesystem::path& path);

  bool has(const std::string& key) const;  ///< present and not null
  int64_t integer(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<int64_t> integers(const std::string& key) const;
  std::vector<int64_t> integers(const std::string& key, std::vector<int64_t> fallback) const;
  std::vector<double> numbers(const std::string& key) const;
  std::vector<bool> booleans(const std::string& key, std::vector<bool> fallback) const;
  JsonConfig object(const std::string& key) const;

  /// Throws if a key is present that `known` lacks, with the nearest match. For objects whose format is ours.
  void reject_unknown(const std::vector<std::string>& known) const;
  /// Throws Error: "<where>: <key> <problem>, got <value>".
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;

  const nlohmann::json& json() const { return object_; }
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& need(const std::string& key) const;
  nlohmann::json object_;
  std::string where_;
};

}  // namespace tessera
