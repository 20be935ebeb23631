#include "pipelines/batch_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <regex>
#include <string>

#include "core/atomic_file.h"
#include "core/error.h"

namespace tessera {

namespace fs = std::filesystem;

FolderLock::FolderLock(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  const fs::path file = folder / ".tessera.lock";
  descriptor_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw write_error(file, errno);
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int error_number = errno;
    close(descriptor_);
    if (error_number != EWOULDBLOCK) throw write_error(file, error_number);
    std::string owner;
    std::getline(std::ifstream(file), owner);
    throw Error("another tessera (process " + (owner.empty() ? "unknown" : owner) + ") works in the folder " +
                folder.string() + "; wait for it or choose another --output");
  }
  const std::string owner = std::to_string(getpid()) + "\n";
  if (ftruncate(descriptor_, 0) != 0 || write(descriptor_, owner.data(), owner.size()) < 0) {
    const int error_number = errno;
    close(descriptor_);
    throw write_error(file, error_number);
  }
}

FolderLock::~FolderLock() {
  close(descriptor_);
}

void remove_unfinished_files(const fs::path& folder) {
  static const std::regex unfinished(R"(\..*\.[0-9]+(-[0-9]+)?\.part)");
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && std::regex_match(entry.path().filename().string(), unfinished))
      found.push_back(entry.path());
  std::error_code ignored;
  for (const fs::path& file : found) fs::remove(file, ignored);
}

}  // namespace tessera
