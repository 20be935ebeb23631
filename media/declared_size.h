#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace tessera {

/// How many bytes a video file has by its own structure: MP4 and MOV by their boxes, AVI by its RIFF chunks, Matroska
/// and WebM by their segment, GIF by its blocks (one more than there are when its end mark is missing). Readers of
/// videos pass over the missing end of a file that was cut off, so only this tells. Empty for other formats and where
/// the structure says nothing, as that of a live recording. Throws Error when the file cannot be read.
std::optional<uint64_t> declared_size(const std::filesystem::path& path);

}  // namespace tessera
