#pragma once

#include <filesystem>

#include "weights/archive_value.h"

namespace tessera {

/// The value in a file of Python's pickle.dump (protocols 2 to 5): plain data and NumPy arrays of numbers; other
/// objects are only recorded, see weights/pickle.h. Nothing in it is executed. Throws Error naming the file when it is
/// absent, no such pickle, damaged, or larger than that reader allows.
ArchiveValue read_pickle(const std::filesystem::path& path);

}  // namespace tessera
