#pragma once

#include <string_view>

#include "batch/located_json.h"

namespace tessera {

/// Parses one YAML document into the same tree as JSON, with the lines of its keys and values. Plain scalars become
/// null, booleans, and numbers where nothing of their spelling is lost; all others are texts. Throws JsonSyntaxError
/// for bad syntax, more than 64 nested levels or four million values, several documents, tags, keys that are no
/// scalars, and aliases (with which a short file can stand for an endless one).
LocatedJson parse_located_yaml(std::string_view text);

}  // namespace tessera
