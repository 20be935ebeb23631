#pragma once

#include <filesystem>

namespace tessera {

/// Keeps a second program out of an output folder for as long as this object lives; a killed program holds no lock.
class FolderLock {
 public:
  enum class Kind {
    kSole,   ///< no other program
    kShared  ///< others that ask for a shared lock too
  };

  /// Creates the folder when it is missing. Throws Error when another program holds the lock (naming its process) or
  /// the folder takes no files.
  explicit FolderLock(const std::filesystem::path& folder, Kind kind = Kind::kSole);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Turns a shared lock into a sole one; false, and nothing is held any more, while others hold the folder too. Of
  /// several programs that end, the last one succeeds.
  bool become_sole();

 private:
  int descriptor_ = -1;
};

/// Removes the unfinished files (see AtomicFile) that killed programs left in a folder and the folders inside it. Only
/// while holding its lock.
void remove_unfinished_files(const std::filesystem::path& folder);

}  // namespace tessera
