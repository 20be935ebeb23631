#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// A file that could not be decoded, and why.
struct UnreadableFile {
  std::filesystem::path path;
  std::string reason;  ///< names the file
};

/// A line for each file's reason, the first ten of them, each after a line break.
std::string list_of(const std::vector<UnreadableFile>& files);

/// "2 of 9 videos cannot be read; --skip-unreadable leaves them out:" and the list. `noun`: what the `total` are.
std::string words_of_unreadable(const std::vector<UnreadableFile>& files, size_t total, const std::string& noun);

}  // namespace tessera
