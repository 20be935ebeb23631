#include "media/png_text.h"

#include <zlib.h>

#include <cstdint>
#include <optional>

#include "core/error.h"
#include "core/utf8.h"

namespace tessera {
namespace {

constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
constexpr size_t kHeaderEnd = 8 + 4 + 4 + 13 + 4;  // signature and IHDR: length, type, 13 bytes, checksum

uint32_t checksum(std::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

uint32_t read_big_endian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// Latin-1 bytes of UTF-8 text when every character is a line feed or printable Latin-1, as tEXt requires.
std::optional<std::string> to_latin1(std::string_view text) {
  std::string latin;
  for (size_t at = 0; at < text.size();) {
    const uint32_t c = *next_code_point(text, at);
    if (c != '\n' && (c < 32 || (c > 126 && c < 161) || c > 255)) return {};
    latin += static_cast<char>(c);
  }
  return latin;
}

std::string from_latin1(std::string_view latin) {
  std::string text;
  for (const char c : latin) append_utf8(text, static_cast<unsigned char>(c));
  return text;
}

std::string text_chunk(const std::string& keyword, const std::string& text) {
  const std::optional<std::string> latin = to_latin1(text);
  const std::string nul(1, '\0');
  // iTXt between keyword and text: not compressed, method 0, no language, no translated keyword.
  const std::string body =
      latin ? "tEXt" + keyword + nul + *latin : "iTXt" + keyword + nul + std::string(4, '\0') + text;
  return big_endian(static_cast<uint32_t>(body.size() - 4)) + body + big_endian(checksum(body));
}

void check_entry(const std::string& keyword, const std::string& text) {
  bool good = !keyword.empty() && keyword.size() <= 79;
  for (const char c : keyword) good = good && c >= 32 && c <= 126;
  if (!good) throw Error("PNG text keyword \"" + keyword + "\" is not 1 to 79 printable ASCII characters; rename it");
  if (!is_utf8_text(text)) throw Error("PNG text \"" + keyword + "\" is not UTF-8 without NUL; convert it to UTF-8");
  if (text.size() > 0x7FFFFF00u) throw Error("PNG text \"" + keyword + "\" is longer than a chunk holds; shorten it");
}

/// Adds the text of a tEXt or uncompressed iTXt chunk's body, if it is well formed.
void parse_text(std::string_view type, std::string_view body, ImageText& text) {
  const size_t keyword_end = body.find('\0');
  if (keyword_end == std::string_view::npos) return;
  const std::string keyword(body.substr(0, keyword_end));
  body.remove_prefix(keyword_end + 1);
  if (type == "tEXt") {
    text[keyword] = from_latin1(body);
    return;
  }
  if (body.size() < 2 || body[0] != '\0') return;
  const size_t language_end = body.find('\0', 2);
  if (language_end == std::string_view::npos) return;
  const size_t translated_end = body.find('\0', language_end + 1);
  if (translated_end == std::string_view::npos) return;
  const std::string_view value = body.substr(translated_end + 1);
  if (is_utf8_text(value)) text[keyword] = value;
}

}  // namespace

bool is_png(std::string_view bytes) {
  return bytes.substr(0, kSignature.size()) == kSignature;
}

std::string insert_png_text(std::string_view png, const ImageText& text) {
  std::string out(png.substr(0, kHeaderEnd));
  for (const auto& [keyword, value] : text) {
    check_entry(keyword, value);
    out += text_chunk(keyword, value);
  }
  return out.append(png.substr(kHeaderEnd));
}

ImageText read_png_text(std::string_view png, const std::string& where) {
  ImageText text;
  size_t at = kSignature.size();
  while (true) {
    const bool fits = png.size() - at >= 12 && read_big_endian(png, at) <= png.size() - at - 12;
    if (!fits) throw Error(where + " is cut short: a chunk reaches past the end of the file; get the file again");
    const size_t length = read_big_endian(png, at);
    const std::string_view type = png.substr(at + 4, 4);
    if (type == "IEND") return text;
    if (type == "tEXt" || type == "iTXt") {
      if (checksum(png.substr(at + 4, length + 4)) != read_big_endian(png, at + 8 + length))
        throw Error(where + " is damaged: the checksum of a " + std::string(type) +
                    " chunk is wrong; get the file again");
      parse_text(type, png.substr(at + 8, length), text);
    }
    at += 12 + length;
  }
}

}  // namespace tessera
