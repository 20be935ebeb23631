#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

/// Whether a terminal may obey a character instead of showing it: controls (C0, DEL, C1), and those that separate
/// lines or turn the direction of text.
bool is_control_character(uint32_t code);

/// `text` as a terminal may be shown it, on one line: what is_control_character() names becomes \n, \t, \r, \x1b or
/// \u009b, and a byte that is not UTF-8 becomes \xff.
std::string printable_line(std::string_view text);

/// The same with line feeds kept, for messages of several lines.
std::string printable_text(std::string_view text);

}  // namespace tessera
