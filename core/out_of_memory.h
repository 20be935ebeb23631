#pragma once

#include <exception>
#include <optional>
#include <string>

namespace tessera {

/// What to try when rendering runs out of memory.
inline constexpr const char* kSmallerRender = "try a smaller --size, fewer --frames, --vae-tile 256 or --dtype bf16";

/// "out of memory: 12.3 GB more was needed; " and `advice`; nullopt when `failure` is something else. LibTorch's
/// errors tell what was asked for. std::bad_alloc does not, and then the text says how much the program held at most.
std::optional<std::string> out_of_memory_text(const std::exception& failure, const std::string& advice);

}  // namespace tessera
