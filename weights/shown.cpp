#include "weights/shown.h"

#include <nlohmann/json.hpp>

namespace tessera {

std::string shown(std::string_view text) {
  constexpr size_t kMost = 120;
  using nlohmann::json;
  // Escaping can make text six times longer, so it is cut first.
  std::string line = json(std::string(text.substr(0, kMost))).dump(-1, ' ', true, json::error_handler_t::replace);
  if (line.size() > kMost) line.replace(kMost - 3, std::string::npos, "...");
  return line;
}

std::string plain(std::string_view text) {
  const std::string quoted = shown(text);
  return quoted.size() == text.size() + 2 && quoted.substr(1, text.size()) == text ? std::string(text) : quoted;
}

}  // namespace tessera
