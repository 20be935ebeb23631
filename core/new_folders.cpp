#include "core/new_folders.h"

#include "core/atomic_file.h"

namespace tessera {

namespace fs = std::filesystem;

NewFolders::NewFolders(const fs::path& file) {
  std::error_code problem;
  fs::path folder;
  for (const fs::path& part : file.parent_path()) {
    folder /= part;
    if (folder.empty() || fs::exists(folder, problem)) continue;
    problem.clear();
    if (fs::create_directory(folder, problem)) made_.push_back(folder);
    if (!problem) continue;
    remove_empty();
    throw write_error(folder, problem.value());
  }
}

NewFolders::~NewFolders() {
  remove_empty();
}

void NewFolders::remove_empty() noexcept {
  std::error_code ignored;
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) fs::remove(*folder, ignored);
}

}  // namespace tessera
