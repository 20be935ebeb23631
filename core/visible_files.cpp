#include "core/visible_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <set>

#include "core/error.h"

namespace tessera {

namespace fs = std::filesystem;

namespace {

std::string kind_of(mode_t mode) {
  return S_ISFIFO(mode) ? "FIFO" : (S_ISSOCK(mode) ? "socket" : "device");
}

class Scanner {
 public:
  explicit Scanner(const fs::path& folder) {
    struct stat status;
    if (stat(folder.c_str(), &status) != 0)
      scan_.unlisted.push_back({folder, std::strerror(errno)});
    else
      own_.push_back({folder, {status.st_dev, status.st_ino}});
  }

  FolderScan run() {
    while (!own_.empty() || !linked_.empty()) {
      std::deque<Folder>& queue = own_.empty() ? linked_ : own_;  // a folder's own name comes before links to it
      const Folder folder = std::move(queue.front());
      queue.pop_front();
      if (seen_.insert(folder.identity).second) list(folder.path);
    }
    const auto by_bytes = [](const auto& a, const auto& b) { return a.native() < b.native(); };
    std::sort(scan_.files.begin(), scan_.files.end(), by_bytes);
    std::sort(scan_.lost.begin(), scan_.lost.end(), by_bytes);
    return std::move(scan_);
  }

 private:
  struct Folder {
    fs::path path;
    std::pair<dev_t, ino_t> identity;
  };

  void list(const fs::path& folder) {
    std::error_code problem;
    std::vector<fs::path> paths;
    for (fs::directory_iterator entry(folder, problem), end; !problem && entry != end; entry.increment(problem))
      if (!entry->path().filename().native().starts_with('.')) paths.push_back(entry->path());
    if (problem) scan_.unlisted.push_back({folder, problem.message()});
    std::sort(paths.begin(), paths.end());
    for (const fs::path& path : paths) place(path);
  }

  void place(const fs::path& path) {
    struct stat own, status;
    if (lstat(path.c_str(), &own) != 0 || stat(path.c_str(), &status) != 0)
      scan_.lost.push_back(path);
    else if (S_ISREG(status.st_mode))
      scan_.files.push_back(path);
    else if (S_ISDIR(status.st_mode))
      (S_ISLNK(own.st_mode) ? linked_ : own_).push_back({path, {status.st_dev, status.st_ino}});
    else
      scan_.others.push_back({path, kind_of(status.st_mode)});
  }

  FolderScan scan_;
  std::deque<Folder> own_, linked_;
  std::set<std::pair<dev_t, ino_t>> seen_;
};

}  // namespace

FolderScan scan_folder(const fs::path& folder) {
  return Scanner(folder).run();
}

std::vector<fs::path> visible_files(const fs::path& folder) {
  const FolderScan scan = scan_folder(folder);
  if (!scan.unlisted.empty())
    throw Error("cannot list the folder " + scan.unlisted.front().path.string() + ": " + scan.unlisted.front().what);
  std::vector<fs::path> files;
  for (const fs::path& file : scan.files) files.push_back(fs::relative(file, folder));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace tessera
