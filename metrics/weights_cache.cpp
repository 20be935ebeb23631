#include "metrics/weights_cache.h"

#include <cstdlib>
#include <optional>

#include "core/error.h"
#include "core/sha256.h"
#include "core/text.h"
#include "weights/foreign_file.h"

namespace fs = std::filesystem;

namespace tessera {
namespace {

std::optional<fs::path> from_environment(const char* name) {
  const char* value = std::getenv(name);
  if (!value || !*value) return {};
  return fs::path(value);
}

}  // namespace

std::vector<fs::path> weights_folders() {
  const auto home = from_environment("HOME");
  auto caches = from_environment("XDG_CACHE_HOME");
  if (!caches && home) caches = *home / ".cache";
  std::vector<fs::path> folders;
  if (const auto own = from_environment("TESSERA_CACHE"))
    folders.push_back(*own / "weights");
  else if (caches)
    folders.push_back(*caches / "tessera" / "weights");
  if (const auto torch = from_environment("TORCH_HOME"))
    folders.push_back(*torch / "hub" / "checkpoints");
  else if (caches)
    folders.push_back(*caches / "torch" / "hub" / "checkpoints");
  return folders;
}

FoundWeights find_weights(const PublishedWeights& wanted, const std::string& chosen) {
  const auto found = [&](const fs::path& path) {
    refuse_foreign(path, wanted.what);
    Sha256 hash;
    hash.update_file(path);
    const std::string digest = hash.hex();
    return FoundWeights{path, digest, digest == wanted.sha256};
  };
  if (!chosen.empty()) {
    if (!fs::is_regular_file(chosen)) throw Error("no file " + chosen + "; want " + wanted.what);
    return found(chosen);
  }
  const std::vector<fs::path> folders = weights_folders();
  for (const fs::path& folder : folders)
    for (const std::string& name : wanted.names)
      if (fs::is_regular_file(folder / name)) return found(folder / name);
  const std::string places = joined(folders, " or ", [](const fs::path& folder) { return folder.string(); });
  throw Error(wanted.what + " was not found: get " + wanted.names.front() + " (" + wanted.origin + "; SHA-256 " +
              wanted.sha256 + ") and put it into " + (places.empty() ? "a folder named by TESSERA_CACHE" : places) +
              ", or name a file with " + wanted.flag);
}

}  // namespace tessera
