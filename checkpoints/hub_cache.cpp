#include "checkpoints/hub_cache.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/paths.h"
#include "core/size_limits.h"
#include "core/text.h"
#include "weights/shown.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLongestRef = 4096;  // bytes of refs/main: a hash

std::vector<std::string> folders_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code problem;
  for (auto entry = fs::directory_iterator(folder, problem); !problem && entry != fs::directory_iterator();
       entry.increment(problem))
    if (is_folder(entry->path())) names.push_back(entry->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// What refs/main holds, without white space; "" without such a file.
std::string main_ref(const fs::path& repository) {
  const fs::path file = repository / "refs" / "main";
  if (!is_file(file)) return "";
  std::string ref = read_small_file(file, kLongestRef, "a reference of the Hugging Face cache");
  std::erase_if(ref, [](unsigned char letter) { return letter <= ' '; });
  return ref;
}

/// The folder models--ORG--NAME that `path` names itself or by its snapshots/; "" for any other path.
fs::path repository_of(const fs::path& path) {
  fs::path folder = path.has_filename() ? path : path.parent_path();
  if (folder.filename() == "snapshots") folder = folder.parent_path();
  const bool named = folder.filename().string().starts_with("models--") || is_folder(folder / "blobs");
  return named && is_folder(folder / "snapshots") ? folder : fs::path();
}

}  // namespace

fs::path resolve_hub_cache(const fs::path& path) {
  const fs::path repository = repository_of(path);
  if (repository.empty()) return path;
  const fs::path snapshots = repository / "snapshots";
  const std::vector<std::string> found = folders_in(snapshots);
  const std::string ref = main_ref(repository);
  if (std::find(found.begin(), found.end(), ref) != found.end()) return snapshots / ref;
  if (ref.empty() && found.size() == 1) return snapshots / found.front();
  const std::string have = found.empty() ? "it has no snapshot" : "its snapshots are " + joined(found);
  throw Error(path.string() + " is a folder of the Hugging Face cache, but " +
              (ref.empty() ? "it has no refs/main and " + have
                           : "its refs/main names " + shown(ref) + ", which is not in snapshots/ (" + have + ")") +
              "; download the model again or name a folder of " + snapshots.string());
}

}  // namespace tessera
