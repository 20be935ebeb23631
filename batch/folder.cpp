#include "batch/folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <regex>
#include <string>
#include <thread>

#include "core/atomic_file.h"
#include "core/error.h"

namespace tessera {

namespace fs = std::filesystem;

namespace {

constexpr int kAttempts = 50;
constexpr auto kWait = std::chrono::milliseconds(100);

}  // namespace

FolderLock::FolderLock(const fs::path& folder, Kind kind) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  const fs::path file = folder / ".tessera.lock";
  descriptor_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw write_error(file, errno);
  const auto take = [&] { return flock(descriptor_, (kind == Kind::kSole ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0; };
  bool taken = take();
  // A shard that ends holds the lock alone while it merges the records.
  for (int i = 0; !taken && kind == Kind::kShared && i < kAttempts; ++i) {
    std::this_thread::sleep_for(kWait);
    taken = take();
  }
  if (!taken) {
    const int error_number = errno;
    close(descriptor_);
    if (error_number != EWOULDBLOCK) throw write_error(file, error_number);
    std::string owner;
    std::getline(std::ifstream(file), owner);
    throw Error("another tessera (process " + (owner.empty() ? "unknown" : owner) + ") is using the folder " +
                folder.string() + "; wait for it or choose another --output");
  }
  const std::string owner = std::to_string(getpid()) + "\n";
  if (ftruncate(descriptor_, 0) != 0 || write(descriptor_, owner.data(), owner.size()) < 0) {
    const int error_number = errno;
    close(descriptor_);
    throw write_error(file, error_number);
  }
}

bool FolderLock::become_sole() {
  flock(descriptor_, LOCK_UN);
  return flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
}

FolderLock::~FolderLock() {
  close(descriptor_);
}

bool is_unfinished(const fs::path& file) {
  static const std::regex unfinished(R"(\..*\.[0-9]+(-[0-9]+)?\.part)");
  return std::regex_match(file.filename().string(), unfinished);
}

void remove_unfinished_files(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied))
    if (entry.is_regular_file(ignored) && is_unfinished(entry.path())) found.push_back(entry.path());
  for (const fs::path& file : found) fs::remove(file, ignored);
}

}  // namespace tessera
