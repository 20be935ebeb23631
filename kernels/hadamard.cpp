#include "kernels/hadamard.h"

#include <cmath>

namespace tessera {

bool is_hadamard_size(int64_t size) {
  constexpr int64_t kLargest = 4096;
  return size >= 4 && size <= kLargest && (size & (size - 1)) == 0 &&
         __builtin_ctzll(static_cast<uint64_t>(size)) % 2 == 0;
}

void hadamard(float* numbers, int64_t size) {
  for (int64_t stride = 1; stride < size; stride *= 4)
    for (int64_t start = 0; start < size; start += 4 * stride)
      for (int64_t i = start; i < start + stride; ++i) {
        float* at = numbers + i;
        const float a = at[0], b = at[stride], c = at[2 * stride], d = at[3 * stride];
        at[0] = a + b + c - d;
        at[stride] = a + b - c + d;
        at[2 * stride] = a - b + c + d;
        at[3 * stride] = -a + b + c + d;
      }
  const float factor = 1.0f / std::sqrt(static_cast<float>(size));
  for (int64_t i = 0; i < size; ++i) numbers[i] *= factor;
}

}  // namespace tessera
