#include "checkpoints/bundled_model.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// The file that holds this function: the program or the shared library.
fs::path this_file() {
  Dl_info ignored = {};
  link_map* map = nullptr;
  const bool known = dladdr1(reinterpret_cast<const void*>(&this_file), &ignored, reinterpret_cast<void**>(&map),
                             RTLD_DL_LINKMAP) != 0;
  // The program itself has no name there.
  return fs::canonical(known && map && *map->l_name ? map->l_name : "/proc/self/exe");
}

}  // namespace

fs::path find_bundled_model() {
  const char* chosen = std::getenv("TESSERA_MODEL");
  if (chosen && *chosen) return chosen;
  const fs::path file = this_file();
  fs::path above = file.parent_path();
  std::error_code ignored;
  for (int level = 0; level < 3; ++level, above = above.parent_path()) {
    const fs::path place = above / "share" / "tessera" / "bundled";
    if (fs::exists(place / "model_index.json", ignored)) return place;
  }
  throw Error("no bundled model: " + file.string() + " has no share/tessera/bundled beside or above it; " +
              "pass --model DIR or set TESSERA_MODEL");
}

}  // namespace tessera
