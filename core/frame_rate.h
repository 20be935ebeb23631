#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tessera {

/// Frames per second as an exact fraction, e.g. {16, 1} or {24000, 1001}.
struct FrameRate {
  int64_t numerator = 16;
  int64_t denominator = 1;
  bool operator==(const FrameRate&) const = default;
  double value() const { return static_cast<double>(numerator) / static_cast<double>(denominator); }
};

/// "24", "30000/1001", "12.5": a whole number, a fraction or a decimal. A decimal that is 24, 30, 48, 60, 120 or 240
/// times 1000/1001, rounded to two places or more, is that fraction (23.976 is 24000/1001, 29.97 is 30000/1001); others
/// of up to three places are taken exactly, and of more as the nearest fraction with a denominator up to 1001.
/// Numerator and denominator come without common divisors. None when it is no positive rate, or has no such form.
std::optional<FrameRate> parse_frame_rate(const std::string& text);

/// "24" or "30000/1001"; parse_frame_rate() gives the same rate again.
std::string frame_rate_text(const FrameRate& rate);

/// A whole rate is a number in JSON, another one its text.
template <class Json>
void to_json(Json& json, const FrameRate& rate) {
  if (rate.denominator == 1)
    json = rate.numerator;
  else
    json = frame_rate_text(rate);
}

}  // namespace tessera
