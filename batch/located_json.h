#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

/// A JSON value that knows its line. Objects keep the order of their keys, and keys given twice.
struct LocatedJson {
  enum class Kind { kScalar, kArray, kObject };
  Kind kind = Kind::kScalar;
  int64_t line = 1;                 ///< from 1; of an object's member, the line of its key
  nlohmann::json scalar;            ///< string, number, boolean or null
  std::vector<std::string> keys;    ///< of an object
  std::vector<LocatedJson> values;  ///< of an object or array

  bool is_object() const { return kind == Kind::kObject; }
  bool is_array() const { return kind == Kind::kArray; }
  bool is_string() const { return kind == Kind::kScalar && scalar.is_string(); }
  bool is_null() const { return kind == Kind::kScalar && scalar.is_null(); }
  /// The first member of that name, nullptr when absent or when this is no object.
  const LocatedJson* find(const std::string& key) const;
  /// "an object", "an array", or the scalar as JSON, cut to 60 bytes: for messages.
  std::string shown() const;
};

/// What is wrong with a text that is not JSON, or not YAML.
struct JsonSyntaxError {
  int64_t line;
  std::string text;
};

/// Parses one JSON value; lines count from `first_line`. Throws JsonSyntaxError for bad syntax and for more than 64
/// nested levels or four million values.
LocatedJson parse_located_json(std::string_view text, int64_t first_line);

}  // namespace tessera
