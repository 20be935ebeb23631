#include "weights/shown.h"

#include <nlohmann/json.hpp>

namespace tessera {

std::string shown(std::string_view text) {
  constexpr size_t kMost = 120;
  using nlohmann::json;
  // A text can grow six times by escapes, so what cannot be shown need not be escaped.
  std::string line = json(std::string(text.substr(0, kMost))).dump(-1, ' ', true, json::error_handler_t::replace);
  if (line.size() > kMost) line = line.substr(0, kMost - 3) + "...";
  return line;
}

}  // namespace tessera
