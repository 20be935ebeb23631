#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace tessera::test {

/// While this holds, no thread but those that say so in their own `may_allocate` gets memory. Include this file in one
/// source of a test program alone: it takes the place of the program's operator new.
inline std::atomic<bool> refuse_memory = false;
inline thread_local bool may_allocate = false;

}  // namespace tessera::test

// Not inlined: GCC would see malloc on one side of a pair and take the other for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (tessera::test::refuse_memory && !tessera::test::may_allocate) throw std::bad_alloc();
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}

[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}

[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
