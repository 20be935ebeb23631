#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace tessera {

/// The draws of numpy.random.RandomState(seed), with which the field's tools choose their subsets. The same seed gives
/// the same rows, so scores that depend on a choice agree.
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : bits_(seed) {}

  /// RandomState.permutation(n): 0..n-1 in random order; 0 <= n < 2^32.
  std::vector<int64_t> permutation(int64_t n);
  /// RandomState.choice(n, size, replace=False); size <= n.
  std::vector<int64_t> choice(int64_t n, int64_t size);
  /// RandomState.randint's draw with rejection: a number in [0, most], each alike; most < 2^32.
  int64_t below_or_equal(int64_t most);

 private:
  std::mt19937 bits_;
};

}  // namespace tessera
