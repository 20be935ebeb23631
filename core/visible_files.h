#pragma once

#include <filesystem>
#include <vector>

namespace tessera {

/// The regular files in and below `folder`, relative to it and sorted. Links are followed, and a linked file goes by
/// the name of what it links to. Hidden files and hidden folders are skipped: `.git`, and the `.cache` of a download
/// from Hugging Face, which holds times. Throws Error when a folder cannot be listed.
std::vector<std::filesystem::path> visible_files(const std::filesystem::path& folder);

}  // namespace tessera
