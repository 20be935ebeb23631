#pragma once

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

}  // namespace tessera
