#pragma once

#include <cstdint>
#include <functional>

namespace tessera {

/// at::parallel_for on LibTorch's threads: calls work(from, to) for ranges that together are [begin, end), each at
/// least `grain` long unless the whole is shorter. Serial where called from inside another parallel_for, and in builds
/// by clang or with sanitizers. Throws what a call of work() has thrown.
void parallel_for(int64_t begin, int64_t end, int64_t grain, const std::function<void(int64_t, int64_t)>& work);

}  // namespace tessera
