#pragma once

#include <filesystem>
#include <vector>

namespace tessera {

/// The missing folders above a file that is about to be written. They exist from the construction on; those that are
/// still empty at the end are removed, so that a failed run leaves none behind.
class NewFolders {
 public:
  /// Throws Error (see write_error) when one cannot be created.
  explicit NewFolders(const std::filesystem::path& file);
  ~NewFolders();
  NewFolders(const NewFolders&) = delete;
  NewFolders& operator=(const NewFolders&) = delete;

 private:
  void remove_empty() noexcept;

  std::vector<std::filesystem::path> made_;  // outermost first
};

}  // namespace tessera
