#pragma once

#include <cstdint>

namespace tessera {

/// A small random stream that is a pure function of (seed, index): SplitMix64 over a mixed start.
/// Data sets draw item `index` from its own stream, so items do not depend on order, batch or thread.
class CounterRng {
 public:
  CounterRng(uint64_t seed, uint64_t index) : state_(mix(seed + 0x9E3779B97F4A7C15ull * (index + 1))) {}

  uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15ull); }
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in {0, ..., count - 1}.
  int64_t below(int64_t count) { return static_cast<int64_t>(next() % static_cast<uint64_t>(count)); }

  /// The SplitMix64 finalizer: a fixed bijection of 64-bit words, also used as a hash.
  static uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
    return value ^ (value >> 31);
  }

 private:
  uint64_t state_;
};

}  // namespace tessera
