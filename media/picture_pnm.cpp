#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

#include "media/picture_decoders.h"
#include "media/picture_pixels.h"

namespace tessera::pictures {
namespace {

constexpr std::string_view kBlanks = " \t\n\v\f\r";

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  fail(path, "PBM, PGM, PPM or PFM", reason);
}

bool is_blank(char c) {
  return kBlanks.find(c) != std::string_view::npos;
}

/// Text before the pixels, and the numbers of the plain formats. A comment runs from # to the end of its line.
struct Text {
  std::string_view left;
  const std::filesystem::path& path;

  /// The next word, and behind it one blank; "" at the end.
  std::string word() {
    constexpr size_t kMost = 10;  // characters, as in Pillow
    std::string word;
    while (!left.empty()) {
      const char c = left.front();
      left.remove_prefix(1);
      if (c == '#')
        left.remove_prefix(std::min(left.find_first_of("\r\n"), left.size()));
      else if (!is_blank(c))
        word += c;
      else if (!word.empty())
        break;
      if (word.size() > kMost) refuse(path, "its text has the word " + word + "..., where a number is due");
    }
    return word;
  }
  /// The next word as a whole number in [0, most]; `what` names it.
  int64_t number(const char* what, int64_t most) {
    const std::string text = word();
    int64_t value = -1;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty()) refuse(path, "it is cut short");
    if (problem != std::errc() || end != text.data() + text.size() || value < 0 || value > most)
      refuse(path,
             std::string("its ") + what + " is \"" + text + "\"; want a number from 0 to " + std::to_string(most));
    return value;
  }
  /// The next 0 or 1 of a plain PBM, which needs no blank around it.
  bool bit() {
    while (!left.empty() && (is_blank(left.front()) || left.front() == '#'))
      left.remove_prefix(left.front() == '#' ? std::min(left.find_first_of("\r\n"), left.size()) : 1);
    if (left.empty()) refuse(path, "it is cut short");
    const char c = left.front();
    left.remove_prefix(1);
    if (c != '0' && c != '1') refuse(path, "its pixels have characters other than 0 and 1");
    return c == '1';
  }
};

/// Samples as they follow the header.
struct Samples {
  Text text;
  bool plain;
  int64_t most;  ///< the value of white

  int64_t next() {
    if (plain) return text.number("sample", most);
    const auto* from = reinterpret_cast<const uint8_t*>(text.left.data());
    const int64_t value = most < 256 ? from[0] : from[0] << 8 | from[1];
    text.left.remove_prefix(most < 256 ? 1 : 2);
    return value;
  }
};

/// A sample as Pillow scales it: gray of more than 8 bits is stretched to 16 and clipped, not scaled, to 8.
uint8_t to_8_bits(int64_t value, int64_t most, bool color) {
  const double scale = color || most < 256 ? 255 : 65535;
  return clipped(std::nearbyint(static_cast<double>(value) / static_cast<double>(most) * scale));
}

void need(const Text& text, int64_t bytes) {
  if (static_cast<int64_t>(text.left.size()) < bytes)
    refuse(text.path, "it is cut short: " + std::to_string(text.left.size()) + " bytes of pixels instead of " +
                          std::to_string(bytes));
}

void read_bits(Text text, bool plain, const at::Tensor& picture) {
  const int64_t height = picture.size(0), width = picture.size(1), row_bytes = (width + 7) / 8;
  if (!plain) need(text, height * row_bytes);
  uint8_t* to = picture.data_ptr<uint8_t>();
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x, to += 3) {
      const bool black = plain ? text.bit() : text.left[static_cast<size_t>(y * row_bytes + x / 8)] >> (7 - x % 8) & 1;
      std::memset(to, black ? 0 : 255, 3);
    }
}

void read_samples(Text text, bool plain, bool color, const at::Tensor& picture) {
  const int64_t most = text.number("maximum value", 65535), channels = color ? 3 : 1;
  if (most == 0) refuse(text.path, "its maximum value is 0");
  const int64_t count = picture.size(0) * picture.size(1) * channels;
  if (!plain) need(text, most < 256 ? count : 2 * count);
  Samples samples{.text = text, .plain = plain, .most = most};
  uint8_t* to = picture.data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i, to += 3 / channels)
    std::memset(to, to_8_bits(samples.next(), most, color), static_cast<size_t>(3 / channels));
}

/// Floating point, from the lowest row upward; the sign of the scale tells the byte order.
void read_floats(Text text, const at::Tensor& picture) {
  const std::string scale = text.word();
  const bool little = scale.starts_with('-');
  if (scale.find_first_of("123456789") == std::string::npos) refuse(text.path, "its scale is \"" + scale + "\"");
  const int64_t height = picture.size(0), width = picture.size(1);
  need(text, height * width * 4);
  const auto* from = reinterpret_cast<const uint8_t*>(text.left.data());
  for (int64_t y = height - 1; y >= 0; --y)
    for (int64_t x = 0; x < width; ++x, from += 4) {
      const uint32_t bits = little ? from[0] | from[1] << 8 | from[2] << 16 | static_cast<uint32_t>(from[3]) << 24
                                   : from[3] | from[2] << 8 | from[1] << 16 | static_cast<uint32_t>(from[0]) << 24;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      std::memset(picture.data_ptr<uint8_t>() + (y * width + x) * 3, clipped(value), 3);
    }
}

}  // namespace

at::Tensor decode_pnm(std::string_view bytes, const std::filesystem::path& path) {
  Text text{.left = bytes, .path = path};
  const std::string kind = text.word();
  const int64_t width = text.number("width", int64_t{1} << 31), height = text.number("height", int64_t{1} << 31);
  const at::Tensor picture = make_picture(height, width, path);
  if (kind == "Pf")
    read_floats(text, picture);
  else if (kind == "P1" || kind == "P4")
    read_bits(text, kind == "P1", picture);
  else if (kind == "P2" || kind == "P3" || kind == "P5" || kind == "P6")
    read_samples(text, kind < "P4", kind == "P3" || kind == "P6", picture);
  else
    refuse(path, "it begins with \"" + kind + "\"");
  return picture;
}

}  // namespace tessera::pictures
