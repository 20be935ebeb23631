#include "core/printable.h"

#include "core/utf8.h"

namespace tessera {
namespace {

std::string hexadecimal(uint32_t number, int digits) {
  std::string text;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) text += "0123456789abcdef"[number >> shift & 15];
  return text;
}

std::string escape(uint32_t code) {
  if (code == '\n') return "\\n";
  if (code == '\t') return "\\t";
  if (code == '\r') return "\\r";
  return code < 0x80 ? "\\x" + hexadecimal(code, 2) : "\\u" + hexadecimal(code, 4);
}

std::string printable(std::string_view text, bool keep_line_feeds) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const std::optional<uint32_t> code = next_code_point(text, at);
    if (!code) {
      at = start + 1;
      out += "\\x" + hexadecimal(static_cast<unsigned char>(text[start]), 2);
    } else if (is_control_character(*code) && !(keep_line_feeds && *code == '\n')) {
      out += escape(*code);
    } else {
      out += text.substr(start, at - start);
    }
  }
  return out;
}

}  // namespace

bool is_control_character(uint32_t code) {
  const auto within = [code](uint32_t first, uint32_t last) { return code >= first && code <= last; };
  return code < 0x20 || within(0x7F, 0x9F) || within(0x200E, 0x200F) || within(0x2028, 0x202E) ||
         within(0x2066, 0x2069);
}

std::string printable_line(std::string_view text) {
  return printable(text, false);
}

std::string printable_text(std::string_view text) {
  return printable(text, true);
}

}  // namespace tessera
