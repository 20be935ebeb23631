#pragma once

#include <cstdint>
#include <functional>

namespace tessera {

/// Calls work() on this thread and on `count - 1` others at once, and waits for all of them. Where the system starts no
/// more threads, fewer take part: work() must take its share of the task from a common place until nothing is left.
/// Throws what a call of work() has thrown, after all have ended.
void run_on_threads(int64_t count, const std::function<void()>& work);

/// Operations that this thread calls use `count` threads from here on, itself included; other threads are left as they
/// are. (at::set_num_threads changes the number of those that have not begun yet, too.)
void use_threads_here(int count);

}  // namespace tessera
