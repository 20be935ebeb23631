#pragma once

#include <limits>

namespace tessera {

/// A number of a JSON file; null, which stands for NaN and infinity there, is NaN.
template <class Json>
double number_of(const Json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.template get<double>();
}

}  // namespace tessera
