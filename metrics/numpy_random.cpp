#include "metrics/numpy_random.h"

#include <c10/util/Exception.h>

#include <bit>
#include <limits>
#include <numeric>
#include <utility>

namespace tessera {

int64_t NumpyRandom::below_or_equal(int64_t most) {
  TORCH_CHECK(most >= 0 && most <= std::numeric_limits<uint32_t>::max(), "NumpyRandom: bad range ", most);
  if (most == 0) return 0;
  const uint32_t mask = std::numeric_limits<uint32_t>::max() >> std::countl_zero(static_cast<uint32_t>(most));
  uint32_t draw = 0;
  do draw = static_cast<uint32_t>(bits_()) & mask;
  while (draw > static_cast<uint32_t>(most));
  return draw;
}

std::vector<int64_t> NumpyRandom::permutation(int64_t n) {
  TORCH_CHECK(n >= 0, "NumpyRandom: a permutation of ", n, " items");
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(below_or_equal(i))]);
  return order;
}

std::vector<int64_t> NumpyRandom::choice(int64_t n, int64_t size) {
  TORCH_CHECK(size >= 0 && size <= n, "NumpyRandom: want ", size, " of ", n);
  std::vector<int64_t> order = permutation(n);
  order.resize(static_cast<size_t>(size));
  return order;
}

}  // namespace tessera
