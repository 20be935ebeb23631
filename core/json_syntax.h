#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

/// What keeps a text from being JSON, or YAML.
struct SyntaxError {
  int64_t line, column;  ///< from 1; columns count characters
  std::string problem;   ///< what is wrong and what to do, on one line of bounded length
};

/// How deeply JSON and YAML may nest; it keeps hostile files from exhausting the stack.
inline constexpr int64_t kMaxNesting = 64;

/// The first thing that keeps `text` from being one JSON value, in words for whoever wrote the file; none when
/// nothing does. It reads the text again, so it is for texts that a parser has refused.
std::optional<SyntaxError> find_json_mistake(std::string_view text);

}  // namespace tessera
