#pragma once

#include <filesystem>

namespace tessera {

/// The model folder that a path means: a folder models--ORG--NAME of the Hugging Face hub's cache stands for the
/// snapshot that its refs/main names, or for its only one; any other path for itself. Throws Error for such a folder
/// without that snapshot, naming those there are.
std::filesystem::path resolve_hub_cache(const std::filesystem::path& path);

}  // namespace tessera
