#pragma once

#include <filesystem>

namespace tessera {

/// The model used when none is given: the folder in TESSERA_MODEL, else share/tessera/bundled beside or up to two
/// folders above the program or library that holds this code; an install and a build folder both have it there.
/// Throws Error saying where it looked.
std::filesystem::path find_bundled_model();

}  // namespace tessera
