#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "tests/support/files.h"

/// One input of a fuzzer (libFuzzer's entry point); replay.cpp runs it over a folder of them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace tessera::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A folder in memory where it can be, removed at the end.
class Folder : public test::TemporaryFolder {
 public:
  Folder() : TemporaryFolder(std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp") {}

  /// Writes a file of the folder anew and returns its path.
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    test::write_bytes(*this / name, bytes);
    return *this / name;
  }
};

/// Runs `action`. An Error of one bounded line is how hostile input may end; every other exception ends the process.
template <class Action>
void expect_value_or_error(Action&& action) {
  constexpr size_t kLongest = 2000;
  try {
    action();
  } catch (const Error& e) {
    const std::string_view message = e.what();
    if (!message.empty() && message.size() <= kLongest && message.find('\n') == message.npos) return;
    std::fprintf(stderr, "an error must be one line of at most %zu bytes: %s\n", kLongest, e.what());
    std::abort();
  }
}

}  // namespace tessera::fuzz
