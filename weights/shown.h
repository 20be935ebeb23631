#pragma once

#include <string>
#include <string_view>

namespace tessera {

/// A text of a stranger's file, quoted, on one line and of at most 120 bytes, for messages: control characters and
/// bytes that are no UTF-8 are escaped or replaced.
std::string shown(std::string_view text);

/// The text as it is where it is short and has nothing to escape, else shown().
std::string plain(std::string_view text);

}  // namespace tessera
