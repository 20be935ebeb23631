#pragma once

#include <string>
#include <string_view>

namespace tessera {

/// Text from an untrusted file for messages: quoted, on one line, at most 120 bytes, with control characters and
/// invalid UTF-8 escaped or replaced.
std::string shown(std::string_view text);

/// The text itself when it is short and needs no escaping, else shown().
std::string plain(std::string_view text);

}  // namespace tessera
