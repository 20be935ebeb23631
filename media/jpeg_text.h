#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "media/png_text.h"

namespace tessera {

/// A segment of a JPEG file before its pixels.
struct JpegSegment {
  int marker;        ///< 0xE1 is APP1, which holds EXIF; 0xFE is COM, a comment
  std::string body;  ///< at most 65,533 bytes
};

/// The segments that keep `text`: "parameters" as EXIF's UserComment in UTF-16, where programs with A1111's settings
/// line keep it in a JPEG, and "tessera" as a comment, in several segments where it is long. A UserComment beyond 64
/// KiB is left out, because EXIF cannot hold it; the comment has all of it. Throws c10::Error for other keywords.
std::vector<JpegSegment> jpeg_text_segments(const ImageText& text);

/// The text of a JPEG file as UTF-8: what jpeg_text_segments keeps, also as other programs write it. Throws Error
/// naming `where` when a segment reaches past the end of the file.
ImageText read_jpeg_text(std::string_view jpeg, const std::string& where);

/// True when the bytes begin with JPEG's signature.
bool is_jpeg(std::string_view bytes);

}  // namespace tessera
