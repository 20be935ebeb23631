#include "core/disk_space.h"

#include <sys/statvfs.h>

#include "core/error.h"

namespace tessera {
namespace {

std::string in_kilobytes(int64_t bytes) {
  return std::to_string((bytes + 999) / 1000) + " kB";
}

}  // namespace

void check_free_space(const std::filesystem::path& path, int64_t bytes) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  struct statvfs disk = {};
  if (statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) return;
  const auto free = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  if (free >= bytes) return;
  throw Error("cannot write " + path.string() + ": the disk that holds the folder " + folder.string() +
                  " is full or nearly so (" + in_kilobytes(free) + " free, up to " + in_kilobytes(bytes) +
                  " may be needed); free some space or choose another output path",
              ExitCode::kFailed);
}

}  // namespace tessera
