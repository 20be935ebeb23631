#pragma once

#include <cstdint>
#include <filesystem>

namespace tessera {

/// Throws Error (failed, as a disk that fills up while writing) when the file system that holds the folder of `path`
/// has less than `bytes` free, saying both. A folder that does not exist is left for the writer to refuse.
void check_free_space(const std::filesystem::path& path, int64_t bytes);

}  // namespace tessera
