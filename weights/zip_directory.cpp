#include "weights/zip_directory.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "weights/shown.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "zip numbers are little-endian");

constexpr uint32_t kEntrySignature = 0x02014b50, kLocalSignature = 0x04034b50;
constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr uint64_t kEntryBytes = 46, kLocalBytes = 30, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr uint64_t kLongestComment = 65535;
constexpr uint32_t kIn64 = 0xFFFFFFFF;  // the number is in the zip64 field
constexpr uint16_t kExtra64 = 1;

/// Reads numbers of the archive by position, with bounds checks.
class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  template <class Number>
  Number at(uint64_t place) const {
    Number number;
    std::memcpy(&number, range(place, sizeof(Number)).data(), sizeof(Number));
    return number;
  }
  std::span<const uint8_t> range(uint64_t place, uint64_t size) const {
    if (place > bytes_.size() || size > bytes_.size() - place)
      fail("its directory points to byte " + std::to_string(place) + ", the file has " + std::to_string(bytes_.size()) +
           ": it is truncated or damaged");
    return bytes_.subspan(place, size);
  }
  std::string text(uint64_t place, uint64_t size) const {
    const auto part = range(place, size);
    return {part.begin(), part.end()};
  }
  uint64_t size() const { return bytes_.size(); }
  [[noreturn]] void fail(const std::string& problem) const { throw Error(where_ + ": " + problem); }

 private:
  std::span<const uint8_t> bytes_;
  const std::string& where_;
};

struct Directory {
  uint64_t begin, size, entries;
};

/// The position of the record that ends every zip archive.
uint64_t find_end(const Reader& file) {
  const uint64_t last = file.size() < kEndBytes ? 0 : file.size() - kEndBytes;
  const uint64_t first = last < kLongestComment ? 0 : last - kLongestComment;
  for (uint64_t place = last + 1; file.size() >= kEndBytes && place-- > first;)
    if (file.at<uint32_t>(place) == kEndSignature) return place;
  file.fail("it begins as a zip archive but has no directory at its end: it is truncated; copy or download it again");
}

Directory find_directory(const Reader& file) {
  const uint64_t end = find_end(file);
  Directory found{.begin = file.at<uint32_t>(end + 16),
                  .size = file.at<uint32_t>(end + 12),
                  .entries = file.at<uint16_t>(end + 10)};
  uint64_t limit = end;
  if (end >= kLocator64Bytes && file.at<uint32_t>(end - kLocator64Bytes) == kLocator64Signature) {
    const auto end64 = file.at<uint64_t>(end - kLocator64Bytes + 8);
    file.range(end64, kEnd64Bytes);
    if (file.at<uint32_t>(end64) != kEnd64Signature) file.fail("its zip64 directory is damaged");
    found = {.begin = file.at<uint64_t>(end64 + 48),
             .size = file.at<uint64_t>(end64 + 40),
             .entries = file.at<uint64_t>(end64 + 32)};
    limit = end64;
  }
  if (found.begin > limit || found.size > limit - found.begin || found.entries > found.size / kEntryBytes)
    file.fail("its zip directory (" + std::to_string(found.entries) + " entries, " + std::to_string(found.size) +
              " bytes at byte " + std::to_string(found.begin) + ") does not lie inside the file");
  return found;
}

/// Fills the numbers of a zip64 entry from its extra field; they come in this order, each only when needed.
void read_extra64(const Reader& file, uint64_t place, uint64_t end, std::initializer_list<uint64_t*> numbers) {
  while (place + 4 <= end) {
    const auto kind = file.at<uint16_t>(place);
    const uint64_t field_end = place + 4 + file.at<uint16_t>(place + 2);
    place += 4;
    if (kind == kExtra64) {
      for (uint64_t* number : numbers)
        if (*number == kIn64 && place + 8 <= std::min(field_end, end)) {
          *number = file.at<uint64_t>(place);
          place += 8;
        }
      return;
    }
    place = field_end;
  }
}

struct Placed {
  std::string name;
  uint64_t header = 0;  ///< where its local header lies
  ZipEntry entry;
};

/// Reads the entry at `place` and advances `place` past it.
Placed read_entry(const Reader& file, const Directory& directory, uint64_t& place) {
  if (file.at<uint32_t>(place) != kEntrySignature) file.fail("its zip directory is damaged");
  Placed read;
  const uint64_t name_size = file.at<uint16_t>(place + 28), extra_size = file.at<uint16_t>(place + 30);
  const uint64_t extra = place + kEntryBytes + name_size, next = extra + extra_size + file.at<uint16_t>(place + 32);
  if (next > directory.begin + directory.size) file.fail("its zip directory is damaged");
  read.name = file.text(place + kEntryBytes, name_size);
  if (file.at<uint16_t>(place + 8) & 1) file.fail("its entry " + shown(read.name) + " is encrypted");
  read.entry.compressed = file.at<uint16_t>(place + 10) != 0;
  read.entry.crc = file.at<uint32_t>(place + 16);
  read.entry.stored = file.at<uint32_t>(place + 20);
  read.entry.size = file.at<uint32_t>(place + 24);
  read.header = file.at<uint32_t>(place + 42);
  read_extra64(file, extra, extra + extra_size, {&read.entry.size, &read.entry.stored, &read.header});
  place = next;
  if (read.header > directory.begin || directory.begin - read.header < kLocalBytes ||
      file.at<uint32_t>(read.header) != kLocalSignature)
    file.fail("its entry " + shown(read.name) + " should lie at byte " + std::to_string(read.header) +
              ", but there is none: the file is damaged");
  // The local header repeats the name and may have an extra field of its own length (PyTorch pads with it).
  read.entry.begin =
      read.header + kLocalBytes + file.at<uint16_t>(read.header + 26) + file.at<uint16_t>(read.header + 28);
  if (read.entry.begin > directory.begin || read.entry.stored > directory.begin - read.entry.begin)
    file.fail("its entry " + shown(read.name) + " has " + std::to_string(read.entry.stored) + " bytes at byte " +
              std::to_string(read.entry.begin) + ", beyond the " + std::to_string(directory.begin) +
              " bytes of data: the file is truncated or damaged");
  if (!read.entry.compressed && read.entry.stored != read.entry.size)
    file.fail("its entry " + shown(read.name) + " has two sizes, " + std::to_string(read.entry.stored) + " and " +
              std::to_string(read.entry.size));
  return read;
}

}  // namespace

std::map<std::string, ZipEntry> read_zip_directory(std::span<const uint8_t> archive, const std::string& where) {
  const Reader file(archive, where);
  const Directory directory = find_directory(file);
  std::vector<Placed> placed;
  uint64_t place = directory.begin;
  for (uint64_t i = 0; i < directory.entries; ++i) placed.push_back(read_entry(file, directory, place));
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.header < b.header; });
  std::map<std::string, ZipEntry> entries;
  const Placed* last = nullptr;
  for (const auto& read : placed) {
    if (last && read.header < last->entry.begin + last->entry.stored)
      file.fail("its entries " + shown(last->name) + " and " + shown(read.name) + " overlap");
    if (!entries.emplace(read.name, read.entry).second) file.fail("it has two entries " + shown(read.name));
    last = &read;
  }
  return entries;
}

}  // namespace tessera
