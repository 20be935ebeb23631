#pragma once

#include <ATen/ATen.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "weights/safetensors.h"

namespace tessera::test {

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  // A new file each time: ext4 flushes one that is truncated and written again, 4 ms each.
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

/// The bytes of a safetensors file with this header text and data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

}  // namespace tessera::test
