#pragma once

#include <string_view>

namespace tessera {

/// Whether `a` comes before `b` where runs of digits count as numbers: "2" before "10", "f9.png" before "f10.png". All
/// else is compared byte by byte; names that are equal so ("1" and "01") are ordered by their bytes.
bool natural_less(std::string_view a, std::string_view b);

}  // namespace tessera
