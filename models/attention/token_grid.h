#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/json_config.h"

namespace tessera {

/// Lengths along time, height and width, of a token grid or of its blocks. Tokens and blocks are numbered in raster
/// order, time slowest.
using Extent3 = std::array<int64_t, 3>;

inline int64_t volume(const Extent3& extent) {
  return extent[0] * extent[1] * extent[2];
}

/// Three positive integers of a config; absent: `fallback`. Throws Error naming the file and key for anything else.
Extent3 read_extent(const JsonConfig& json, const std::string& key, const std::optional<Extent3>& fallback = {});

}  // namespace tessera
