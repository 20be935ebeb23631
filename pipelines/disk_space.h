#pragma once

#include <cstdint>
#include <filesystem>

#include "core/job.h"

namespace tessera {

/// The most that the outputs of a completed job should take on a disk: raw pixels for pictures, a quarter of that for
/// videos, and some more for what surrounds them.
int64_t largest_output_bytes(const Job& job);

/// Throws Error (usage) when the file system that holds the folder of `path` has less than `bytes` free, saying both.
/// A folder that does not exist is left for the writer to refuse.
void check_free_space(const std::filesystem::path& path, int64_t bytes);

}  // namespace tessera
