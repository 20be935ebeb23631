#pragma once

#include <cctype>
#include <string>

namespace tessera {

/// A name as names are compared: its letters, digits and '+', in lower case.
inline std::string comparable_name(const std::string& name) {
  std::string out;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '+')
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace tessera
