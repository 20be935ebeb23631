#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

namespace tessera {

/// The seed of a generator of noise: any number from 0 to 2^64 - 1, or -1 for one that is yet to be drawn.
class Seed {
 public:
  static constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max();

  constexpr Seed() = default;
  /// Implicit, so that a number is a seed wherever one is asked for; every negative one is "yet to be drawn".
  template <std::integral Number>
  constexpr Seed(Number number)
      : random_(std::cmp_less(number, 0)), value_(random_ ? 0 : static_cast<uint64_t>(number)) {}

  /// Whether it is yet to be drawn.
  constexpr bool is_random() const { return random_; }
  constexpr uint64_t value() const { return value_; }
  /// Whether the seeds of `count` outputs, from this one upward, all exist.
  constexpr bool reaches(int64_t count) const { return value_ <= kLargest - static_cast<uint64_t>(count - 1); }
  /// The seed of output `i` of a job whose first has this one.
  constexpr Seed operator+(int64_t i) const { return random_ ? *this : Seed(value_ + static_cast<uint64_t>(i)); }
  std::string text() const { return random_ ? "-1" : std::to_string(value_); }

  friend constexpr bool operator==(const Seed&, const Seed&) = default;

 private:
  bool random_ = true;
  uint64_t value_ = 0;
};

template <class Json>
void to_json(Json& json, const Seed& seed) {
  if (seed.is_random())
    json = -1;
  else
    json = seed.value();
}

}  // namespace tessera
