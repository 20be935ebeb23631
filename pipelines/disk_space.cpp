#include "pipelines/disk_space.h"

#include <sys/statvfs.h>

#include "core/error.h"
#include "media/frame_writer.h"

namespace tessera {
namespace {

constexpr int64_t kSurroundings = 16384;  // headers, recipe, a block or two

std::string in_kilobytes(int64_t bytes) {
  return std::to_string((bytes + 999) / 1000) + " kB";
}

}  // namespace

int64_t largest_output_bytes(const Job& job) {
  const int64_t pixels = 3 * *job.width * *job.height * *job.frames;
  if (output_kind(job.output) == OutputKind::kVideo) return job.count * (pixels / 4 + kSurroundings);
  return job.count * (pixels + *job.frames * kSurroundings);
}

void check_free_space(const std::filesystem::path& path, int64_t bytes) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  struct statvfs disk = {};
  if (statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) return;
  const auto free = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  if (free >= bytes) return;
  throw Error("cannot write " + path.string() + ": the disk that holds the folder " + folder.string() +
              " is full or nearly so (" + in_kilobytes(free) + " free, up to " + in_kilobytes(bytes) +
              " may be needed); free some space or choose another output path");
}

}  // namespace tessera
