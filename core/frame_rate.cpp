#include "core/frame_rate.h"

#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

namespace tessera {
namespace {

constexpr int64_t kLargestPart = 10'000'000, kLargestDenominator = 1001;

template <class Number>
std::optional<Number> whole_text(const std::string& text) {
  Number number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size()) return {};
  return number;
}

std::optional<FrameRate> reduced(int64_t numerator, int64_t denominator) {
  if (numerator < 1 || denominator < 1) return {};
  const int64_t divisor = std::gcd(numerator, denominator);
  const FrameRate rate{numerator / divisor, denominator / divisor};
  if (rate.numerator > kLargestPart || rate.denominator > kLargestPart) return {};
  return rate;
}

/// The rate of television near `value`, which is written with `places` decimals.
std::optional<FrameRate> television_rate(double value, size_t places) {
  if (places < 2) return {};
  const double rounding = 0.5 * std::pow(10.0, -static_cast<double>(places)) + 1e-12;
  for (const int64_t nominal : {24, 30, 48, 60, 120, 240}) {
    const FrameRate rate{nominal * 1000, 1001};
    if (std::abs(value - rate.value()) <= rounding) return rate;
  }
  return {};
}

/// The last of the convergents of the value's continued fraction whose denominator is small.
std::optional<FrameRate> nearest_fraction(double value) {
  int64_t before = 0, numerator = 1, before_denominator = 1, denominator = 0;
  for (double rest = value;;) {
    const auto whole = static_cast<int64_t>(std::floor(rest));
    const int64_t next = whole * numerator + before, next_denominator = whole * denominator + before_denominator;
    if (next_denominator > kLargestDenominator) break;
    before = std::exchange(numerator, next);
    before_denominator = std::exchange(denominator, next_denominator);
    const double fraction = rest - static_cast<double>(whole);
    if (fraction < 1e-6) break;
    rest = 1 / fraction;
  }
  return reduced(numerator, denominator);
}

}  // namespace

std::optional<FrameRate> parse_frame_rate(const std::string& text) {
  if (const size_t slash = text.find('/'); slash != std::string::npos) {
    const auto numerator = whole_text<int64_t>(text.substr(0, slash));
    const auto denominator = whole_text<int64_t>(text.substr(slash + 1));
    return numerator && denominator ? reduced(*numerator, *denominator) : std::nullopt;
  }
  if (const auto whole = whole_text<int64_t>(text)) return reduced(*whole, 1);
  const auto value = whole_text<double>(text);
  if (!value || !(*value > 0 && *value <= static_cast<double>(kLargestPart))) return {};
  if (*value == std::floor(*value)) return reduced(static_cast<int64_t>(*value), 1);
  const size_t point = text.find('.');
  const bool plain = point != std::string::npos && text.find_first_of("eE") == std::string::npos;
  const size_t places = plain ? text.find_last_not_of('0') - point : 17;
  if (const auto rate = television_rate(*value, plain ? text.size() - point - 1 : 17)) return rate;
  if (places <= 3) return reduced(std::llround(*value * 1000), 1000);
  return nearest_fraction(*value);
}

std::string frame_rate_text(const FrameRate& rate) {
  const std::string numerator = std::to_string(rate.numerator);
  return rate.denominator == 1 ? numerator : numerator + "/" + std::to_string(rate.denominator);
}

}  // namespace tessera
