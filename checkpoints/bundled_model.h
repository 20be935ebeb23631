#pragma once

#include <filesystem>

namespace tessera {

/// The model used when none is named: the folder in TESSERA_MODEL, else weights/bundled of the source tree this program
/// stands in (above its build folder), else of the one it was built from. Throws Error listing where it looked.
std::filesystem::path find_bundled_model();

}  // namespace tessera
