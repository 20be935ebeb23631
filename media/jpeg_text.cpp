#include "media/jpeg_text.h"

#include <c10/util/Exception.h>

#include <cstdint>

#include "core/error.h"
#include "core/utf8.h"

namespace tessera {
namespace {

using namespace std::string_view_literals;

constexpr int kApp1 = 0xE1, kComment = 0xFE, kScan = 0xDA, kEnd = 0xD9;
constexpr size_t kMostBytes = 65533;  // of a segment, without its length
constexpr std::string_view kExif = "Exif\0\0"sv, kUnicode = "UNICODE\0"sv, kAscii = "ASCII\0\0\0"sv;
constexpr uint32_t kExifTag = 0x8769, kUserCommentTag = 0x9286;

std::string big_endian(uint32_t value, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(value >> 8 * (bytes - 1 - i));
  return text;
}

std::string to_utf16(std::string_view text) {
  std::string units;
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = next_code_point(text, at).value_or(0xFFFD);
    if (code >= 0x10000)
      units += big_endian(0xD800 + ((code - 0x10000) >> 10), 2) + big_endian(0xDC00 + (code & 0x3FF), 2);
    else
      units += big_endian(code, 2);
  }
  return units;
}

/// EXIF with one entry, UserComment: a TIFF header, its directory, and EXIF's directory in it.
std::string exif_of(std::string_view comment) {
  constexpr uint32_t kLong = 4, kUndefined = 7, kExifAt = 8 + 2 + 12 + 4, kDataAt = kExifAt + 2 + 12 + 4;
  const auto entry = [](uint32_t tag, uint32_t type, uint32_t count, uint32_t value) {
    return big_endian(1, 2) + big_endian(tag, 2) + big_endian(type, 2) + big_endian(count, 4) + big_endian(value, 4) +
           big_endian(0, 4);
  };
  const std::string data = std::string(kUnicode) + to_utf16(comment);
  return std::string(kExif) + "MM" + big_endian(42, 2) + big_endian(8, 4) + entry(kExifTag, kLong, 1, kExifAt) +
         entry(kUserCommentTag, kUndefined, static_cast<uint32_t>(data.size()), kDataAt) + data;
}

/// Numbers of a TIFF structure; beyond its end they are 0.
struct Tiff {
  std::string_view bytes;
  bool little;

  uint32_t number(size_t at, size_t size) const {
    uint32_t value = 0;
    for (size_t i = 0; i < size && at + i < bytes.size(); ++i) {
      const uint32_t byte = static_cast<unsigned char>(bytes[at + i]);
      value |= byte << 8 * (little ? i : size - 1 - i);
    }
    return value;
  }
  /// Where the entry of `tag` begins in the directory at `at`; 0 when there is none.
  size_t entry(size_t at, uint32_t tag) const {
    const uint32_t count = number(at, 2);
    for (size_t i = 0; i < count && at + 14 + 12 * i <= bytes.size(); ++i)
      if (number(at + 2 + 12 * i, 2) == tag) return at + 2 + 12 * i;
    return 0;
  }
};

std::string from_utf16(std::string_view units, bool little) {
  std::string text;
  const Tiff data{units, little};
  for (size_t at = 0; at + 2 <= units.size(); at += 2) {
    uint32_t code = data.number(at, 2);
    const uint32_t low = data.number(at + 2, 2);
    if (code >= 0xD800 && code < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      at += 2;
    }
    if (code != 0) append_utf8(text, code >= 0xD800 && code < 0xE000 ? 0xFFFD : code);
  }
  return text;
}

/// EXIF's UserComment; "" when it has none.
std::string user_comment(std::string_view exif) {
  const Tiff tiff{exif, exif.starts_with("II")};
  const size_t directory = tiff.entry(tiff.number(4, 4), kExifTag);
  const size_t entry = directory == 0 ? 0 : tiff.entry(tiff.number(directory + 8, 4), kUserCommentTag);
  if (entry == 0) return "";
  const size_t at = tiff.number(entry + 8, 4), size = tiff.number(entry + 4, 4);
  if (at > exif.size() || size > exif.size() - at || size < kUnicode.size()) return "";
  const std::string_view code = exif.substr(at, kUnicode.size()),
                         value = exif.substr(at + code.size(), size - code.size());
  if (code == kUnicode) return from_utf16(value, tiff.little);
  std::string text(value.substr(0, value.find('\0')));
  return (code == kAscii || code == std::string(8, '\0')) && is_utf8_text(text) ? text : "";
}

}  // namespace

bool is_jpeg(std::string_view bytes) {
  return bytes.starts_with("\xFF\xD8\xFF"sv);
}

std::vector<JpegSegment> jpeg_text_segments(const ImageText& text) {
  std::vector<JpegSegment> segments;
  for (const auto& [keyword, value] : text) {
    TORCH_CHECK(keyword == "parameters" || keyword == "tessera", "a JPEG has no place for the text ", keyword);
    if (keyword == "parameters") {
      if (std::string exif = exif_of(value); exif.size() <= kMostBytes) segments.push_back({kApp1, std::move(exif)});
      continue;
    }
    for (size_t at = 0; at < value.size(); at += kMostBytes)
      segments.push_back({kComment, value.substr(at, kMostBytes)});
  }
  return segments;
}

ImageText read_jpeg_text(std::string_view jpeg, const std::string& where) {
  ImageText text;
  bool goes_on = false;  // a full comment goes on in the next
  for (size_t at = 2; at + 2 <= jpeg.size();) {
    const int marker = static_cast<unsigned char>(jpeg[at + 1]);
    if (jpeg[at] != '\xFF' || marker == kScan || marker == kEnd) return text;
    if (marker == 0xFF) {  // a byte that fills up
      ++at;
      continue;
    }
    const size_t length = Tiff{jpeg, false}.number(at + 2, 2);
    if (length < 2 || length > jpeg.size() - at - 2) break;
    const std::string_view body = jpeg.substr(at + 4, length - 2);
    if (marker == kComment && (goes_on || body.starts_with('{'))) {
      text["tessera"] += body;
      goes_on = body.size() == kMostBytes;
    } else if (marker == kApp1 && body.starts_with(kExif)) {
      if (std::string comment = user_comment(body.substr(kExif.size())); !comment.empty())
        text["parameters"] = std::move(comment);
    }
    at += 2 + length;
  }
  throw Error(where + " is cut short: a segment reaches past the end of the file; get the file again");
}

}  // namespace tessera
