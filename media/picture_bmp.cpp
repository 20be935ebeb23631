#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "media/picture_decoders.h"

namespace tessera::pictures {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  fail(path, "BMP", reason);
}

enum Compression : uint32_t { kNone = 0, kRunLength8 = 1, kRunLength4 = 2, kBitFields = 3, kAlphaBitFields = 6 };

/// Little-endian numbers of the file.
struct File {
  std::string_view bytes;
  const std::filesystem::path& path;

  uint32_t number(size_t at, size_t size) const {
    if (bytes.size() < size || at > bytes.size() - size) refuse(path, "it is cut short");
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= static_cast<uint32_t>(byte(at + i)) << (8 * i);
    return value;
  }
  uint8_t byte(size_t at) const { return static_cast<uint8_t>(bytes[at]); }
};

struct Header {
  uint32_t size = 0, bits = 0, compression = kNone, colors = 0;
  int64_t width = 0, height = 0;
  bool top_down = false;
  size_t pixels = 0;                                  ///< where they begin
  std::array<uint32_t, 3> masks{};                    ///< of red, green and blue, for 16 to 32 bits
  std::array<std::array<uint8_t, 3>, 256> palette{};  ///< RGB, for up to 8 bits; black beyond its end

  bool run_length() const { return compression == kRunLength8 || compression == kRunLength4; }
  size_t row_bytes() const { return (static_cast<size_t>(width) * bits + 31) / 32 * 4; }
  /// Of all rows, without what fills up the last one.
  size_t pixel_bytes() const {
    return static_cast<size_t>(height - 1) * row_bytes() + (static_cast<size_t>(width) * bits + 7) / 8;
  }
};

constexpr size_t kFileHeader = 14;

void read_sizes(const File& file, Header& header) {
  header.size = file.number(kFileHeader, 4);
  constexpr std::array<uint32_t, 7> kSizes = {12, 40, 52, 56, 64, 108, 124};
  if (std::find(kSizes.begin(), kSizes.end(), header.size) == kSizes.end())
    refuse(file.path, "its header of " + std::to_string(header.size) + " bytes is of no known version");
  if (header.size == 12) {  // OS/2
    header.width = file.number(18, 2);
    header.height = file.number(20, 2);
    header.bits = file.number(24, 2);
    return;
  }
  const auto height = static_cast<int32_t>(file.number(22, 4));
  header.width = file.number(18, 4);
  header.top_down = height < 0;
  header.height = header.top_down ? -int64_t{height} : int64_t{height};
  header.bits = file.number(28, 2);
  header.compression = file.number(30, 4);
  header.colors = file.number(46, 4);
}

void read_palette(const File& file, Header& header) {
  if (header.colors == 0) header.colors = 1u << header.bits;
  const size_t entry = header.size == 12 ? 3 : 4, start = kFileHeader + header.size;
  const size_t there = (file.bytes.size() - std::min(start, file.bytes.size())) / entry;
  for (size_t i = 0; i < std::min({size_t{header.colors}, header.palette.size(), there}); ++i)
    for (size_t c = 0; c < 3; ++c) header.palette[i][c] = file.byte(start + i * entry + 2 - c);  // stored BGR
  // Files whose pixels are said to begin where the palette does or nowhere mean the byte behind it, as Pillow reads
  // them.
  if (header.pixels == start || header.pixels == 0) header.pixels = start + entry * header.colors;
}

void read_masks(const File& file, Header& header) {
  const bool said = header.compression == kBitFields || header.compression == kAlphaBitFields;
  for (size_t c = 0; said && c < 3; ++c) header.masks[c] = file.number(kFileHeader + 40 + 4 * c, 4);
  if (header.masks == std::array<uint32_t, 3>{})
    header.masks = header.bits == 16 ? std::array<uint32_t, 3>{0x7C00, 0x3E0, 0x1F}
                                     : std::array<uint32_t, 3>{0xFF0000, 0xFF00, 0xFF};
}

Header read_header(const File& file) {
  Header header;
  header.pixels = file.number(10, 4);
  read_sizes(file, header);
  constexpr std::array<uint32_t, 7> kBits = {1, 2, 4, 8, 16, 24, 32};
  if (std::find(kBits.begin(), kBits.end(), header.bits) == kBits.end())
    refuse(file.path, "it has " + std::to_string(header.bits) + " bits a pixel; want 1, 2, 4, 8, 16, 24 or 32");
  const bool fields = header.compression == kBitFields || header.compression == kAlphaBitFields;
  const bool fits = header.run_length() ? header.bits == (header.compression == kRunLength8 ? 8 : 4)
                                        : header.compression == kNone || (fields && header.bits >= 16);
  if (!fits)
    refuse(file.path, "compression " + std::to_string(header.compression) + " with " + std::to_string(header.bits) +
                          " bits a pixel is not supported");
  if (header.bits <= 8)
    read_palette(file, header);
  else
    read_masks(file, header);
  if (header.pixels == 0) header.pixels = kFileHeader + header.size + (fields && header.size == 40 ? 12 : 0);
  return header;
}

/// Run-length coded indices into the palette, from the lowest row upward: [height * width], zeros where nothing is
/// said.
class RunLengths {
 public:
  RunLengths(const File& file, const Header& header)
      : file_(file),
        half_bytes_(header.compression == kRunLength4),
        width_(static_cast<size_t>(header.width)),
        at_(header.pixels),
        indices_(width_ * static_cast<size_t>(header.height)) {}

  std::vector<uint8_t> decode() {
    while (count_ < indices_.size()) {
      if (at_ + 2 > file_.bytes.size()) refuse(file_.path, "it is cut short");
      const size_t count = file_.byte(at_), value = file_.byte(at_ + 1);
      at_ += 2;
      if (count > 0) {
        run(count, value);
      } else if (value == 0) {  // the end of the line
        count_ = (count_ + width_ - 1) / width_ * width_;
        column_ = 0;
      } else if (value == 1) {  // the end of the picture
        if (count_ < indices_.size()) refuse(file_.path, "its pixels end early");
      } else if (value == 2) {
        move();
      } else {
        literal(value);
      }
    }
    return std::move(indices_);
  }

 private:
  void put(size_t index) {
    if (count_ < indices_.size()) indices_[count_++] = static_cast<uint8_t>(index);
  }
  void run(size_t count, size_t value) {
    count = std::min(count, width_ - std::min(column_, width_));  // what is too much for the row is left out
    for (size_t i = 0; i < count; ++i) put(!half_bytes_ ? value : (i % 2 == 0 ? value >> 4 : value & 15));
    column_ += count;
  }
  void move() {
    if (at_ + 2 > file_.bytes.size()) refuse(file_.path, "it is cut short");
    count_ = std::min(indices_.size(), count_ + file_.byte(at_) + file_.byte(at_ + 1) * width_);
    at_ += 2;
    column_ = count_ % width_;
  }
  void literal(size_t count) {
    const size_t taken = std::min(count, indices_.size() - count_), bytes = half_bytes_ ? (taken + 1) / 2 : taken;
    if (bytes > file_.bytes.size() - at_) refuse(file_.path, "it is cut short");
    for (size_t i = 0; i < taken; ++i) {
      const size_t byte = file_.byte(at_ + (half_bytes_ ? i / 2 : i));
      put(!half_bytes_ ? byte : (i % 2 == 0 ? byte >> 4 : byte & 15));
    }
    at_ += bytes;
    at_ += at_ % 2;  // the next code begins at an even place of the file
    column_ += count;
  }

  const File& file_;
  bool half_bytes_;
  size_t width_, at_, count_ = 0, column_ = 0;
  std::vector<uint8_t> indices_;
};

/// One row of uncompressed pixels.
void convert_row(const Header& header, const File& file, size_t at, uint8_t* to) {
  const auto width = static_cast<size_t>(header.width);
  if (header.bits <= 8) {
    for (size_t x = 0; x < width; ++x, to += 3) {
      const size_t bit = x * header.bits;
      const uint32_t index = file.byte(at + bit / 8) >> (8 - header.bits - bit % 8) & ((1u << header.bits) - 1);
      std::memcpy(to, header.palette[index].data(), 3);
    }
    return;
  }
  std::array<int, 3> shifts;
  for (size_t c = 0; c < 3; ++c) shifts[c] = header.masks[c] == 0 ? 0 : std::countr_zero(header.masks[c]);
  for (size_t x = 0; x < width; ++x, to += 3) {
    const uint32_t pixel = file.number(at + x * (header.bits / 8), header.bits / 8);
    for (size_t c = 0; c < 3; ++c) {
      const uint64_t most = header.masks[c] >> shifts[c];
      to[c] =
          most == 0 ? uint8_t{0} : static_cast<uint8_t>(uint64_t{(pixel & header.masks[c]) >> shifts[c]} * 255 / most);
    }
  }
}

}  // namespace

at::Tensor decode_bmp(std::string_view bytes, const std::filesystem::path& path) {
  const File file{.bytes = bytes, .path = path};
  const Header header = read_header(file);
  const at::Tensor picture = make_picture(header.height, header.width, path);
  const auto width = static_cast<size_t>(header.width), height = static_cast<size_t>(header.height);
  std::vector<uint8_t> indices;
  if (header.run_length()) {
    indices = RunLengths(file, header).decode();
  } else if (header.pixels > bytes.size() || header.pixel_bytes() > bytes.size() - header.pixels) {
    refuse(path, "it is cut short");
  }
  for (size_t y = 0; y < height; ++y) {
    uint8_t* to = picture.data_ptr<uint8_t>() + (header.top_down ? y : height - 1 - y) * width * 3;
    if (indices.empty())
      convert_row(header, file, header.pixels + y * header.row_bytes(), to);
    else
      for (size_t x = 0; x < width; ++x) std::memcpy(to + 3 * x, header.palette[indices[y * width + x]].data(), 3);
  }
  return picture;
}

}  // namespace tessera::pictures
