#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>

namespace tessera {

/// The items of a range with `separator` between them, each through `text_of` (default: as it is written to a stream).
/// An empty range gives "".
template <class Range, class TextOf>
std::string joined(const Range& items, const std::string& separator, const TextOf& text_of) {
  std::ostringstream out;
  bool first = true;
  for (const auto& item : items) {
    if (!first) out << separator;
    first = false;
    out << text_of(item);
  }
  return out.str();
}

template <class Range>
std::string joined(const Range& items, const std::string& separator = ", ") {
  return joined(
      items, separator, [](const auto& item) -> const auto& { return item; });
}

/// Whether it is 0 to 9, whatever the locale.
inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// `text` with A to Z in lower case.
inline std::string in_lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

/// `text` without the spaces, tabs and line ends around it.
inline std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

/// "1 frame", "2 frames", "1 class is", "0 classes are": a count with its noun, which forms its plural with an s unless
/// `plural` is given.
std::string counted(int64_t count, const std::string& noun, const std::string& plural = "");

/// `text` wrapped at spaces so that no line is longer than `width`; later lines start with `indent` spaces.
std::string wrap_text(const std::string& text, size_t width, size_t indent);

}  // namespace tessera
