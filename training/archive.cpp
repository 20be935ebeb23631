#include "training/archive.h"

#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/error.h"

namespace tessera {
namespace {

constexpr uint64_t kTarBlock = 512, kMostBytes = uint64_t{4} << 30;
constexpr uint64_t kMostExpansion = 1032;  // of deflate

/// A field of a tar header up to its first zero byte.
std::string tar_text(const uint8_t* block, size_t begin, size_t length) {
  const char* start = reinterpret_cast<const char*>(block) + begin;
  return {start, strnlen(start, length)};
}

/// An octal number, or GNU's base 256 for large ones.
uint64_t tar_number(const uint8_t* block, size_t begin, size_t length, const std::string& where) {
  uint64_t value = 0;
  if (block[begin] & 0x80) {
    for (size_t i = begin + length - 8; i < begin + length; ++i) value = value << 8 | block[i];
    return value;
  }
  for (const char c : tar_text(block, begin, length)) {
    if (c == ' ') continue;
    if (c < '0' || c > '7') throw Error(where + ": a tar header has a number that is not octal: the file is damaged");
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

/// Whether the sum of the header's bytes is what it says; with that field taken as spaces.
bool tar_sum_fits(const uint8_t* block, const std::string& where) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) sum += i >= 148 && i < 156 ? ' ' : block[i];
  return sum == tar_number(block, 148, 8, where);
}

/// The value of a key in the records "LENGTH KEY=VALUE\n" of a pax header; "" without it.
std::string pax_value(std::string_view records, std::string_view key) {
  std::string found;
  while (!records.empty()) {
    const size_t space = records.find(' '), equals = records.find('=');
    if (space == std::string_view::npos || equals == std::string_view::npos || equals < space) break;
    const auto length = static_cast<size_t>(std::strtoull(std::string(records.substr(0, space)).c_str(), nullptr, 10));
    if (length <= equals || length > records.size()) break;
    if (records.substr(space + 1, equals - space - 1) == key)
      found = std::string(records.substr(equals + 1, length - equals - 2));
    records.remove_prefix(length);
  }
  return found;
}

std::string inflated(const uint8_t* data, const ZipEntry& entry, const std::string& where) {
  if (entry.size > kMostExpansion * (entry.stored + 1))
    throw Error(where + ": claims " + std::to_string(entry.size) + " bytes, more than its " +
                std::to_string(entry.stored) + " compressed ones can hold: the archive is damaged");
  std::string out(entry.size, '\0');
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw Error(where + ": out of memory", ExitCode::kFailed);
  stream.next_in = const_cast<uint8_t*>(data);
  stream.avail_in = static_cast<uInt>(entry.stored);
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = static_cast<uInt>(entry.size);
  const int state = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  if (state != Z_STREAM_END || stream.avail_out != 0)
    throw Error(where + ": its compressed data are damaged, truncated or not deflate");
  return out;
}

}  // namespace

Archive::Archive(const std::filesystem::path& path)
    : where_(path.string()), map_(std::make_shared<FileMap>(path, "a tar or zip archive")) {
  zip_ = map_->begins_with("PK");
  if (map_->begins_with("\x1f\x8b"))
    throw Error(where_ + ": is compressed with gzip; unpack it to a plain .tar first (gunzip)");
  if (zip_)
    read_zip();
  else
    read_tar();
}

void Archive::read_zip() {
  for (const auto& [name, entry] : read_zip_directory(map_->bytes(), where_))
    if (!name.ends_with('/')) entries_[name] = entry;
}

void Archive::read_tar() {
  std::string long_name, long_size;
  for (uint64_t at = 0;;) {
    if (at + kTarBlock > map_->size())
      throw Error(where_ + ": ends without the two empty blocks of a tar archive: it is cut short");
    const uint8_t* block = map_->data() + at;
    if (std::all_of(block, block + kTarBlock, [](uint8_t byte) { return byte == 0; })) return;
    if (!tar_sum_fits(block, where_))
      throw Error(where_ + ": the header at byte " + std::to_string(at) +
                  " has a wrong checksum: it is damaged, or no tar or zip archive");
    const uint64_t size =
        long_size.empty() ? tar_number(block, 124, 12, where_) : std::strtoull(long_size.c_str(), nullptr, 10);
    const uint64_t begin = at + kTarBlock;
    if (size > map_->size() - begin) throw Error(where_ + ": its last file is cut short");
    const char type = static_cast<char>(block[156]);
    const std::string_view data(reinterpret_cast<const char*>(map_->data() + begin), size);
    if (type == 'L') {
      long_name = std::string(data.substr(0, data.find('\0')));
    } else if (type == 'x') {
      long_name = pax_value(data, "path");
      long_size = pax_value(data, "size");
    } else {
      const std::string prefix = tar_text(block, 345, 155), name = tar_text(block, 0, 100);
      const bool ustar = std::memcmp(block + 257, "ustar\0", 6) == 0;  // GNU's own form has other things there
      const std::string whole = !long_name.empty() ? long_name : ustar && !prefix.empty() ? prefix + "/" + name : name;
      const ZipEntry entry{.begin = begin, .stored = size, .size = size};
      if ((type == '0' || type == '\0') && !entries_.emplace(whole, entry).second)
        throw Error(where_ + ": has two files of the name " + whole + "; which one is meant? Make the archive anew");
      long_name.clear();
      long_size.clear();
    }
    at = begin + (size + kTarBlock - 1) / kTarBlock * kTarBlock;
  }
}

std::vector<std::string> Archive::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

std::string Archive::bytes(const std::string& name) const {
  const std::string where = where_ + ": " + name;
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Error(where + ": the archive has no such file any more; was it changed?");
  const ZipEntry& entry = found->second;
  if (entry.size >= kMostBytes || entry.stored >= kMostBytes)
    throw Error(where + ": has 4 GiB or more; put such a file beside the archive, not into it");
  const uint8_t* data = map_->data() + entry.begin;
  std::string out =
      entry.compressed ? inflated(data, entry, where) : std::string(reinterpret_cast<const char*>(data), entry.size);
  const uLong crc =
      crc32(crc32(0, nullptr, 0), reinterpret_cast<const Bytef*>(out.data()), static_cast<uInt>(out.size()));
  if (zip_ && crc != entry.crc) throw Error(where + ": its checksum does not match: the archive is damaged");
  return out;
}

}  // namespace tessera
