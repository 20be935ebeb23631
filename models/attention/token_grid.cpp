#include "models/attention/token_grid.h"

#include <algorithm>

namespace tessera {

Extent3 read_extent(const JsonConfig& json, const std::string& key, const std::optional<Extent3>& fallback) {
  if (fallback && !json.has(key)) return *fallback;
  const std::vector<int64_t> values = json.integers(key);
  if (values.size() != 3 || std::any_of(values.begin(), values.end(), [](int64_t v) { return v < 1; }))
    json.fail(key, "must be three positive integers (time, height, width)");
  return {values[0], values[1], values[2]};
}

}  // namespace tessera
