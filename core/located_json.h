#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_syntax.h"

namespace tessera {

/// A JSON or YAML value that knows its line. Objects keep the order of their keys, and duplicate keys.
struct LocatedJson {
  enum class Kind { kScalar, kArray, kObject };
  Kind kind = Kind::kScalar;
  int64_t line = 1;                 ///< from 1; of an object's member, the line of its key
  nlohmann::json scalar;            ///< string, number, boolean or null
  std::string spelling;             ///< of a YAML number that JSON would write otherwise: "007", "1.50"; else empty
  std::vector<std::string> keys;    ///< of an object
  std::vector<LocatedJson> values;  ///< of an object or array

  bool is_object() const { return kind == Kind::kObject; }
  bool is_array() const { return kind == Kind::kArray; }
  bool is_null() const { return kind == Kind::kScalar && scalar.is_null(); }
  /// True for a string, and for a number with a spelling of its own, which may be meant as one.
  bool is_text() const { return kind == Kind::kScalar && (scalar.is_string() || !spelling.empty()); }
  /// A scalar as it is written, without quotes.
  std::string text() const;
  /// The first member of that name, nullptr when absent or when this is no object.
  const LocatedJson* find(const std::string& key) const;
  /// "an object", "an array", or the scalar as JSON, cut to 60 bytes: for messages.
  std::string shown() const;
  /// The value without lines; of keys that are given twice the last counts.
  nlohmann::ordered_json plain() const;
};

/// How many values a file may hold; with kMaxNesting it keeps hostile files from exhausting the memory.
inline constexpr int64_t kMaxValues = 4'000'000;

/// Parses one JSON value; lines count from `first_line`. Throws SyntaxError for bad syntax and beyond the limits above.
LocatedJson parse_located_json(std::string_view text, int64_t first_line);

}  // namespace tessera
