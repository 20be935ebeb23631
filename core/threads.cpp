#include "core/threads.h"

#include <ATen/Parallel.h>
#include <omp.h>

#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace tessera {

void run_on_threads(int64_t count, const std::function<void()>& work) {
  std::mutex guard;
  std::exception_ptr failure;
  const auto guarded = [&] {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(guard);
      failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;  // joined at the end of the block
    try {
      for (int64_t i = 1; i < count; ++i) others.emplace_back(guarded);
    } catch (const std::system_error&) {  // those that started, and this one, do all the work
    }
    guarded();
  }
  if (failure) std::rethrow_exception(failure);
}

void use_threads_here(int count) {
  at::get_num_threads();  // LibTorch sets a thread's number at its first question: after this one, no more
  omp_set_num_threads(count);
}

}  // namespace tessera
