#include "core/visible_files.h"

#include <algorithm>

#include "core/error.h"

namespace tessera {

namespace fs = std::filesystem;

std::vector<fs::path> visible_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code problem;
  fs::recursive_directory_iterator entries(folder, fs::directory_options::follow_directory_symlink, problem), end;
  for (; !problem && entries != end; entries.increment(problem)) {
    std::error_code ignored;
    if (entries->path().filename().native().starts_with('.'))
      entries.disable_recursion_pending();
    else if (entries->is_regular_file(ignored))
      files.push_back(fs::relative(entries->path(), folder));
  }
  if (problem) throw Error("cannot list the folder " + folder.string() + ": " + problem.message());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace tessera
