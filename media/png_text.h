#pragma once

#include <map>
#include <string>
#include <string_view>

namespace tessera {

/// Keyword -> UTF-8 text, as stored in an image. Keywords are 1 to 79 printable ASCII characters.
using ImageText = std::map<std::string, std::string>;

/// `png` with one text chunk per entry after IHDR, in keyword order: tEXt where the text is printable Latin-1 and line
/// feeds, else iTXt (uncompressed UTF-8). Throws Error for a bad keyword and for text that is not UTF-8.
std::string insert_png_text(std::string_view png, const ImageText& text);

/// The tEXt and uncompressed iTXt chunks of a PNG file as UTF-8; the last entry of a repeated keyword wins. Compressed
/// text is skipped. Throws Error naming `where` when the chunk structure is cut short or a text chunk's checksum is
/// wrong.
ImageText read_png_text(std::string_view png, const std::string& where);

/// True when the bytes begin with PNG's signature.
bool is_png(std::string_view bytes);

}  // namespace tessera
