#pragma once

#include <filesystem>

namespace tessera {

/// A lock on an output folder for as long as this object lives. It does not outlive its process.
class FolderLock {
 public:
  enum class Kind {
    kSole,   ///< no other process
    kShared  ///< others with a shared lock
  };

  /// Creates the folder when it is missing. Throws Error when another process holds the lock (naming its process) or
  /// the folder takes no files.
  explicit FolderLock(const std::filesystem::path& folder, Kind kind = Kind::kSole);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Turns a shared lock into a sole one. Returns false, with the lock released, while others share it: of several
  /// processes that end, the last one succeeds.
  bool become_sole();

 private:
  int descriptor_ = -1;
};

/// Whether it is named as unfinished files are (see AtomicFile).
bool is_unfinished(const std::filesystem::path& file);

/// Removes the unfinished files that killed programs left in a folder and the folders inside it; those
/// that this program may not read (`lost+found`) are skipped. Only while holding its lock.
void remove_unfinished_files(const std::filesystem::path& folder);

}  // namespace tessera
