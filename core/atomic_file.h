#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "core/cancel.h"
#include "core/error.h"

namespace tessera {

/// A file that appears under its name complete or not at all. Bytes go to a hidden `.NAME.PID.part` in the same folder;
/// commit() flushes it to the disk and renames it; without commit() the destructor (or the second Ctrl-C, see
/// core/cancel.h) removes it. A symbolic link is followed: the file it names is replaced, not the link.
class AtomicFile {
 public:
  /// Creates the temporary file. Throws Error (usage) when the folder does not exist, does not accept new files, or
  /// `path` names something that is not a regular file; Error (failed) when the disk is full.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends bytes. Throws Error (failed) when the disk is full or a limit is reached.
  void write(std::string_view bytes);
  /// The name to open for a library that does its own writing; commit() flushes what it wrote as well.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// Makes the file appear under its name, replacing what was there. Call once, after the last byte.
  void commit();

 private:
  std::filesystem::path shown_;   // as the caller wrote it, for messages
  std::filesystem::path target_;  // with links resolved
  std::filesystem::path temporary_;
  std::optional<RemoveOnSignal> remove_on_signal_;
  int descriptor_ = -1;
};

/// Writes a whole file through AtomicFile; the same errors.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// Throws the Error that writing `path` would throw: creates a small file beside it and removes it. Call before
/// hours of work. An existing file at `path` is left untouched, and refused when it is write-protected.
void check_writable(const std::filesystem::path& path);

/// The Error for a failed write: the file, the reason for `error_number` (an errno value) in words, what to do.
/// ENOENT, ENOTDIR, EACCES, EPERM, EROFS, EISDIR and ENAMETOOLONG are usage (exit 2), all others run-time failures (1).
Error write_error(const std::filesystem::path& path, int error_number);

}  // namespace tessera
