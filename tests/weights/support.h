#pragma once

#include <ATen/ATen.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "weights/safetensors.h"

namespace tessera::test {

/// The bytes of a safetensors file with this header text and data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

}  // namespace tessera::test
