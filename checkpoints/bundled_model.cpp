#include "checkpoints/bundled_model.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/this_file.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

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
