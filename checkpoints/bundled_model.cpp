#include "checkpoints/bundled_model.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"

namespace tessera {

namespace fs = std::filesystem;

fs::path find_bundled_model() {
  const char* chosen = std::getenv("TESSERA_MODEL");
  if (chosen && *chosen) return chosen;
  std::error_code ignored;
  std::vector<fs::path> places;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  fs::path above = program.parent_path();
  for (int level = 0; level < 3 && above.has_relative_path(); ++level, above = above.parent_path())
    places.push_back(above / "weights" / "bundled");
  places.push_back(fs::path(TESSERA_SOURCE_DIR) / "weights" / "bundled");
  for (const fs::path& place : places)
    if (fs::exists(place / "model_index.json", ignored)) return place;
  throw Error("no bundled model in " + places.back().string() +
              " or above the program; give one with --model DIR or in TESSERA_MODEL");
}

}  // namespace tessera
