#pragma once

#include <string_view>

#include "core/located_json.h"

namespace tessera {

/// Parses one YAML document into the same tree as JSON. Plain scalars are null, booleans or numbers by YAML 1.2's core
/// schema, without octal, hexadecimal, infinite and NaN numbers; all others, and quoted ones, are strings. Throws
/// SyntaxError for bad syntax, beyond the limits of parse_located_json, and for several documents, tags, keys that are
/// not scalars, and aliases (with which a short file can expand without end).
LocatedJson parse_located_yaml(std::string_view text);

}  // namespace tessera
