#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

/// The code point that begins at byte `at` (< text.size()), which then moves past it; none when it is malformed: an
/// overlong form, a surrogate, above U+10FFFF, cut short.
std::optional<uint32_t> next_code_point(std::string_view text, size_t& at);

/// Appends a code point's UTF-8 bytes.
void append_utf8(std::string& text, uint32_t code);

/// True for well-formed UTF-8 without NUL.
bool is_utf8_text(std::string_view text);

/// The largest length up to `most` bytes at which `text` can be cut without cutting a character in two.
size_t cut_length(std::string_view text, size_t most);

/// `text`, or where it is longer than `most` bytes (3 at least) its beginning and "..." in so many bytes, without
/// cutting a character in two: for messages.
std::string shortened(const std::string& text, size_t most);

}  // namespace tessera
