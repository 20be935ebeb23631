#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace tessera {

/// One file inside a zip archive; its bytes lie at [begin, begin + stored) of the archive.
struct ZipEntry {
  uint64_t begin = 0;
  uint64_t stored = 0;      ///< bytes in the archive
  uint64_t size = 0;        ///< bytes when unpacked
  uint32_t crc = 0;         ///< CRC-32 of the unpacked bytes; the reader checks it
  bool compressed = false;  ///< false: stored as it is, so stored == size
};

/// The directory of a zip archive (zip64 too) by file name. Throws Error naming `where` when the directory is missing
/// or damaged, an entry reaches beyond the archive, two entries overlap or share a name, or one is encrypted.
/// Source: PKWARE APPNOTE 6.3.
std::map<std::string, ZipEntry> read_zip_directory(std::span<const uint8_t> archive, const std::string& where);

}  // namespace tessera
