#pragma once

#include <string>

namespace tessera {

/// The program's version, such as "0.2.0". Recipes and the hashes of a batch's jobs hold it.
std::string program_version();

}  // namespace tessera
