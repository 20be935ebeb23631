#include "media/declared_size.h"

#include <algorithm>
#include <array>
#include <bit>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"

namespace tessera {
namespace {

/// Bytes of a file at any place; fewer than asked for at its end.
class Bytes {
 public:
  explicit Bytes(const std::filesystem::path& path) : in_(path, std::ios::binary) {
    std::error_code problem;
    size_ = std::filesystem::file_size(path, problem);
    if (!in_ || problem) throw Error("cannot read " + path.string() + "; check that it is a file and may be read");
  }

  uint64_t size() const { return size_; }
  std::string at(uint64_t place, size_t count) {
    if (place < start_ || place + count > start_ + window_.size()) load(place);
    return place < start_ + window_.size() ? window_.substr(static_cast<size_t>(place - start_), count) : "";
  }

 private:
  void load(uint64_t place) {
    constexpr uint64_t kWindow = 65536;
    start_ = std::min(place, size_);
    window_.resize(static_cast<size_t>(std::min(kWindow, size_ - start_)));
    in_.clear();
    in_.seekg(static_cast<std::streamoff>(start_));
    in_.read(window_.data(), static_cast<std::streamsize>(window_.size()));
    window_.resize(static_cast<size_t>(in_.gcount()));
  }

  std::ifstream in_;
  uint64_t size_ = 0, start_ = 0;
  std::string window_;
};

uint64_t big_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

uint64_t little_endian(std::string_view bytes) {
  return big_endian(std::string(bytes.rbegin(), bytes.rend()));
}

/// Boxes follow each other; what is not one any more (garbage behind the last) ends the walk.
std::optional<uint64_t> of_boxes(Bytes& file) {
  constexpr std::array<std::string_view, 18> kKnown = {"ftyp", "moov", "mdat", "free", "skip", "wide",
                                                       "pnot", "styp", "sidx", "moof", "mfra", "uuid",
                                                       "emsg", "prft", "udta", "meta", "ssix", "pdin"};
  uint64_t place = 0;
  while (place < file.size()) {
    const std::string head = file.at(place, 16);
    if (head.size() < 8 || std::find(kKnown.begin(), kKnown.end(), head.substr(4, 4)) == kKnown.end()) break;
    uint64_t length = big_endian(head.substr(0, 4));
    if (length == 0) return {};  // to the end of the file, wherever that is
    if (length == 1 && head.size() == 16) length = big_endian(head.substr(8, 8));
    if (length < 8 || length > UINT64_MAX - place) break;
    place += length;
  }
  return place;
}

/// An AVI beyond 1 GiB is several RIFF chunks.
std::optional<uint64_t> of_riff(Bytes& file) {
  uint64_t place = 0, end = 0;
  while (place < file.size()) {
    const std::string head = file.at(place, 12);
    if (head.size() < 12 || head.substr(0, 4) != "RIFF" || !head.substr(8).starts_with("AVI")) break;
    const uint64_t length = little_endian(head.substr(4, 4));
    if (length == 0 || length == UINT32_MAX) return {};  // never filled in
    end = place + 8 + length;
    place = end + length % 2;
  }
  return end;
}

/// A number of EBML with its marker bit, as sizes are written; `width` becomes its bytes, 0 when it is none.
uint64_t ebml_number(std::string_view bytes, size_t& width) {
  width = bytes.empty() ? 0 : static_cast<size_t>(std::countl_zero(static_cast<unsigned char>(bytes[0]))) + 1;
  if (width > 8 || width > bytes.size()) width = 0;
  return width == 0 ? 0 : big_endian(bytes.substr(0, width)) & ((uint64_t{1} << (7 * width)) - 1);
}

std::optional<uint64_t> of_ebml(Bytes& file) {
  constexpr uint64_t kSegment = 0x18538067;
  size_t width = 0;
  const uint64_t header = ebml_number(file.at(4, 8), width);
  if (width == 0) return {};
  const uint64_t segment = 4 + width + header;
  if (big_endian(file.at(segment, 4)) != kSegment) return {};
  const uint64_t length = ebml_number(file.at(segment + 4, 8), width);
  const bool unknown = width == 0 || length == (uint64_t{1} << (7 * width)) - 1;
  return unknown ? std::nullopt : std::optional(segment + 4 + width + length);
}

/// The place behind a GIF's chain of blocks, each with its length before it, the last of length 0.
uint64_t behind_blocks(Bytes& file, uint64_t place) {
  while (place < file.size()) {
    const uint64_t length = big_endian(file.at(place, 1));
    place += 1 + length;
    if (length == 0) break;
  }
  return place;
}

std::optional<uint64_t> of_gif(Bytes& file) {
  const auto table_bytes = [](const std::string& flags) -> uint64_t {
    const auto bits = static_cast<unsigned char>(flags.empty() ? 0 : flags[0]);
    return bits & 0x80 ? uint64_t{6} << (bits & 7) : 0;
  };
  uint64_t place = 13 + table_bytes(file.at(10, 1));
  while (place < file.size()) {
    const std::string kind = file.at(place, 1);
    if (kind == ";") return place + 1;
    if (kind == "!")
      place = behind_blocks(file, place + 2);
    else if (kind == ",")
      place = behind_blocks(file, place + 11 + table_bytes(file.at(place + 9, 1)));
    else
      return {};
  }
  return std::max(place, file.size() + 1);
}

}  // namespace

std::optional<uint64_t> declared_size(const std::filesystem::path& path) {
  Bytes file(path);
  const std::string head = file.at(0, 12);
  if (head.size() < 12) return {};
  if (head.starts_with("\x1A\x45\xDF\xA3")) return of_ebml(file);
  if (head.starts_with("GIF8")) return of_gif(file);
  if (head.starts_with("RIFF") && head.substr(8).starts_with("AVI")) return of_riff(file);
  const auto boxes = of_boxes(file);
  return boxes && *boxes > 0 ? boxes : std::nullopt;
}

}  // namespace tessera
