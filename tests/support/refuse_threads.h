#pragma once

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace tessera::test {

/// How many threads the system still starts. Include this file in one source of a test program alone: it takes the
/// place of the C library's pthread_create there.
inline std::atomic<int64_t> threads_left{INT64_MAX};

}  // namespace tessera::test

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (tessera::test::threads_left-- <= 0) return EAGAIN;
  return real(thread, attributes, start, argument);
}
