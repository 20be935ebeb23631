#include "models/attention/token_grid.h"

#include <algorithm>

#include "core/size_limits.h"

namespace tessera {

Extent3 read_extent(const JsonConfig& json, const std::string& key, const std::optional<Extent3>& fallback) {
  if (fallback && !json.has(key)) return *fallback;
  const std::vector<int64_t> values = json.integers(key);
  const auto impossible = [](int64_t v) { return v < 1 || v > limits::kGridSide; };
  if (values.size() != 3 || std::any_of(values.begin(), values.end(), impossible))
    json.fail(key, "must be three positive integers (time, height, width) up to " + std::to_string(limits::kGridSide));
  return {values[0], values[1], values[2]};
}

}  // namespace tessera
