#include "core/parallel_for.h"

#include <ATen/Parallel.h>

namespace tessera {

void parallel_for(int64_t begin, int64_t end, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
  at::parallel_for(begin, end, grain, [&work](int64_t from, int64_t to) { work(from, to); });
}

}  // namespace tessera
