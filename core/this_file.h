#pragma once

#include <filesystem>

namespace tessera {

/// The file that holds this code, program or shared library, without symbolic links. Throws filesystem_error if it is
/// gone.
std::filesystem::path this_file();

}  // namespace tessera
