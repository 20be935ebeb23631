#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "media/picture_decoders.h"

namespace tessera::pictures {
namespace {

using Palette = std::array<std::array<uint8_t, 3>, 256>;

/// The file from where it has been read to.
class Bytes {
 public:
  Bytes(std::string_view left, const std::filesystem::path& path) : left_(left), path_(path) {}

  std::string_view take(size_t count) {
    if (left_.size() < count) fail(path_, "GIF", "it is cut short");
    const std::string_view taken = left_.substr(0, count);
    left_.remove_prefix(count);
    return taken;
  }
  uint8_t byte() { return static_cast<uint8_t>(take(1)[0]); }
  int64_t number() {
    const int64_t low = byte();
    return low | int64_t{byte()} << 8;
  }
  /// The next part of a chain of blocks; "" at its end.
  std::string_view block() { return take(byte()); }
  [[noreturn]] void refuse(const std::string& reason) const { fail(path_, "GIF", reason); }

 private:
  std::string_view left_;
  const std::filesystem::path& path_;
};

/// Colors by their indices, black beyond the end of the list in the file.
Palette read_palette(Bytes& bytes, int flags) {
  Palette palette{};
  for (size_t i = 0; i < size_t{2} << (flags & 7); ++i) std::memcpy(palette[i].data(), bytes.take(3).data(), 3);
  return palette;
}

Palette grays() {
  Palette palette;
  for (size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<uint8_t>(i));
  return palette;
}

/// LZW as GIF has it: codes grow from `bits` + 1 to 12 bits, least significant bit first, in blocks.
class Lzw {
 public:
  Lzw(Bytes& bytes, int bits) : bytes_(bytes) {
    if (bits < 1 || bits > 11) bytes.refuse("its codes begin with " + std::to_string(bits) + " bits");
    clear_ = 1 << bits;
    for (int i = 0; i < clear_; ++i) entries_[static_cast<size_t>(i)] = {-1, static_cast<uint8_t>(i)};
    restart();
  }

  /// `count` indices.
  std::vector<uint8_t> decode(size_t count) {
    std::vector<uint8_t> indices;
    int last = -1;
    while (indices.size() < count) {
      const int code = next_code();
      if (code == clear_) {
        restart();
        last = -1;
      } else if (code == clear_ + 1) {
        bytes_.refuse("its pixels end early");
      } else {
        append(code, last, indices);
        last = code;
      }
    }
    indices.resize(count);  // the last string may reach past the end
    return indices;
  }

 private:
  struct Entry {
    int prefix;  ///< another code, or -1
    uint8_t index;
  };
  static constexpr int kMostCodes = 4096;

  void restart() {
    size_ = clear_ + 2;
    width_ = 0;
    while (1 << width_ < size_) ++width_;
  }

  int next_code() {
    while (held_ < width_) {
      if (block_.empty()) block_ = bytes_.block();
      if (block_.empty()) bytes_.refuse("its pixels end early");
      bits_ |= static_cast<uint32_t>(static_cast<uint8_t>(block_.front())) << held_;
      block_.remove_prefix(1);
      held_ += 8;
    }
    const auto code = static_cast<int>(bits_ & ((1u << width_) - 1));
    bits_ >>= width_;
    held_ -= width_;
    return code;
  }

  /// The string of `code`, which may be the one that `last` and its own first index are about to make.
  void append(int code, int last, std::vector<uint8_t>& indices) {
    if (code > size_ || (last < 0 && code >= clear_) || (code == size_ && last < 0))
      bytes_.refuse("a code is not in its table");
    string_.clear();
    for (int at = code == size_ ? last : code; at >= 0; at = entries_[static_cast<size_t>(at)].prefix)
      string_.push_back(entries_[static_cast<size_t>(at)].index);
    const uint8_t first = string_.back();
    indices.insert(indices.end(), string_.rbegin(), string_.rend());
    if (code == size_) indices.push_back(first);
    if (last < 0 || size_ == kMostCodes) return;
    entries_[static_cast<size_t>(size_)] = {last, first};
    if (++size_ == 1 << width_ && width_ < 12) ++width_;
  }

  Bytes& bytes_;
  int clear_ = 0, size_ = 0, width_ = 0, held_ = 0;
  uint32_t bits_ = 0;
  std::string_view block_;
  std::array<Entry, kMostCodes> entries_{};
  std::vector<uint8_t> string_;
};

/// Where the first frame lies on the canvas, and how it is stored.
struct Frame {
  int64_t left, top, width, height;
  bool interlaced;
};

/// The row of the frame that is stored as the n-th: every 8th from 0, every 8th from 4, every 4th from 2, every 2nd.
std::vector<int64_t> row_order(const Frame& frame) {
  std::vector<int64_t> order;
  const std::array<std::array<int64_t, 2>, 4> passes = {{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
  for (const auto& [start, step] : passes)
    for (int64_t y = start; frame.interlaced && y < frame.height; y += step) order.push_back(y);
  for (int64_t y = 0; !frame.interlaced && y < frame.height; ++y) order.push_back(y);
  return order;
}

/// Reads on to the first frame. Returns the index that is transparent, or 0.
size_t find_frame(Bytes& bytes) {
  size_t transparent = 0;
  for (int kind = bytes.byte(); kind != ','; kind = bytes.byte()) {
    if (kind == ';') bytes.refuse("it has no picture");
    if (kind != '!') continue;
    const bool control = bytes.byte() == 0xF9;
    std::string_view block = bytes.block();
    if (control && block.size() >= 4 && block[0] & 1) transparent = static_cast<uint8_t>(block[3]);
    while (!block.empty()) block = bytes.block();
  }
  return transparent;
}

}  // namespace

at::Tensor decode_gif(std::string_view all, const std::filesystem::path& path) {
  Bytes bytes(all, path);
  bytes.take(6);
  int64_t width = bytes.number(), height = bytes.number();
  const int flags = bytes.byte();
  bytes.take(2);
  Palette palette = flags & 128 ? read_palette(bytes, flags) : grays();
  const size_t transparent = find_frame(bytes);
  const int64_t left = bytes.number(), top = bytes.number(), across = bytes.number(), down = bytes.number();
  const int frame_flags = bytes.byte();
  const Frame frame{left, top, across, down, (frame_flags & 64) != 0};
  if (frame_flags & 128) palette = read_palette(bytes, frame_flags);
  width = std::max(width, left + across);
  height = std::max(height, top + down);
  const at::Tensor picture = make_picture(height, width, path);
  uint8_t* pixels = picture.data_ptr<uint8_t>();
  for (int64_t i = 0; i < width * height; ++i) std::memcpy(pixels + 3 * i, palette[transparent].data(), 3);
  const int bits = bytes.byte();
  const std::vector<uint8_t> indices = Lzw(bytes, bits).decode(static_cast<size_t>(across * down));
  const uint8_t* index = indices.data();
  for (const int64_t y : row_order(frame)) {
    uint8_t* to = pixels + ((top + y) * width + left) * 3;
    for (int64_t x = 0; x < across; ++x, to += 3) std::memcpy(to, palette[*index++].data(), 3);
  }
  return picture;
}

}  // namespace tessera::pictures
