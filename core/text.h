#pragma once

#include <cstdint>
#include <sstream>
#include <string>

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

/// "1 frame", "2 frames", "1 class is", "0 classes are": a count with its noun, which forms its plural with an s unless
/// `plural` is given.
std::string counted(int64_t count, const std::string& noun, const std::string& plural = "");

/// `text` wrapped at spaces so that no line is longer than `width`; later lines start with `indent` spaces.
std::string wrap_text(const std::string& text, size_t width, size_t indent);

}  // namespace tessera
