#include "core/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/utf8.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// Throws when `target` can never be written, whatever its folder allows.
void check_target(const fs::path& shown, const fs::path& target) {
  const auto refuse = [&](const std::string& why) {
    throw Error("cannot write " + shown.string() + ": " + why + "; choose another output path");
  };
  if (!target.has_filename()) refuse("it names a folder, not a file");
  struct stat found = {};
  if (stat(target.c_str(), &found) != 0) return;
  if (S_ISDIR(found.st_mode)) refuse("it is a folder");
  if (!S_ISREG(found.st_mode))
    refuse("it is a device or a pipe, and output files are written under a temporary name and renamed");
  if (faccessat(AT_FDCWD, target.c_str(), W_OK, AT_EACCESS) != 0) refuse("a write-protected file of that name exists");
}

/// The start of a file name, so that the temporary name fits the 255 bytes of a folder entry.
std::string short_name(const fs::path& path) {
  constexpr size_t kMost = 200;
  const std::string name = path.filename().string();
  return name.substr(0, cut_length(name, kMost));
}

void sync_folder(const fs::path& folder) {
  // Some network file systems refuse this; the file itself is already flushed and renamed.
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace

Error write_error(const fs::path& path, int error_number) {
  const std::string folder = folder_of(path).string();
  const std::string start = "cannot write " + path.string() + ": ";
  const std::string choose = "; choose another output path";
  std::error_code ignored;
  switch (error_number) {
    case ENOENT:
      if (!fs::exists(folder, ignored))
        return Error(start + "the folder " + folder + " does not exist; create it or choose another output path");
      return Error(start + "the folder " + folder + " does not accept new files" + choose);
    case ENOTDIR:
      return Error(start + folder + " is not a folder" + choose);
    case EISDIR:
      return Error(start + "it is a folder" + choose);
    case EACCES:
    case EPERM:
      return Error(start + "no permission to create files in the folder " + folder + choose);
    case EROFS:
      return Error(start + "the folder " + folder + " is on a read-only file system" + choose);
    case ENAMETOOLONG:
      return Error(start + "the name is too long for its file system" + choose);
    case ENOSPC:
      return Error(start + "the disk that holds the folder " + folder + " is full; free some space and run again",
                   ExitCode::kFailed);
    case EDQUOT:
      return Error(start + "your disk quota is used up; free some space and run again", ExitCode::kFailed);
    case EFBIG:
      return Error(start + "the file would be larger than allowed here; raise the limit (ulimit -f) and run again",
                   ExitCode::kFailed);
    default:
      return Error(start + std::strerror(error_number), ExitCode::kFailed);
  }
}

AtomicFile::AtomicFile(const fs::path& path) : shown_(path), target_(path) {
  std::error_code ignored;
  if (fs::is_symlink(path, ignored)) target_ = fs::weakly_canonical(path);
  check_target(shown_, target_);
  if (target_.filename().string().size() > 255) throw write_error(shown_, ENAMETOOLONG);
  const std::string stem = "." + short_name(target_) + "." + std::to_string(getpid());
  // The name may be taken by another writer of this process, or left behind by a killed process with the same id.
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = folder_of(target_) / (stem + (attempt ? "-" + std::to_string(attempt) : "") + ".part");
    remove_on_signal_.emplace(temporary_);
    descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) break;
    const int error_number = errno;
    remove_on_signal_.reset();
    if (error_number != EEXIST) throw write_error(shown_, error_number);
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw write_error(shown_, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0) throw write_error(shown_, errno);
  if (rename(temporary_.c_str(), target_.c_str()) != 0) throw write_error(shown_, errno);
  close(descriptor_);
  descriptor_ = -1;
  remove_on_signal_.reset();
  sync_folder(folder_of(target_));
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void check_writable(const fs::path& path) {
  AtomicFile probe(path);
  probe.write(std::string(4096, '\0'));
}

}  // namespace tessera
