#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "weights/npz.h"

namespace tessera {

/// How statistics or features were made, by name: "protocol", "extractor", "weights" (SHA-256 of the network's file),
/// "extractor-size" (height and width that the network was given), "dtype", and what else a command finds worth
/// knowing. Empty for files of other tools.
using MadeBy = std::map<std::string, std::string>;

/// The record as the JSON text that is stored under kMadeByArray.
inline constexpr const char* kMadeByArray = "tessera";
std::string made_by_text(const MadeBy& made_by);
/// The record of a file; empty when it has none. Throws Error when that is damaged.
MadeBy read_made_by(const NpzFile& file);

/// Throws Error naming `path` and both values when `said`, its record, has something else than `wanted` under one of
/// wanted's names. "dtype" may differ (see check_dtypes), and so may "extractor", which holds a file's name, where the
/// weights are the same. Returns false when the record has none of the names, which is worth a warning.
bool check_made_by(const MadeBy& said, const std::filesystem::path& path, const MadeBy& wanted);

}  // namespace tessera
