#include "metrics/image_stream.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "core/error.h"
#include "tests/support/refuse_memory.h"

namespace tessera {
namespace {

// 64 files fill the queue, so that no decoder is done before the last has started. Root may start as many threads as it
// likes, so the child gives its rights up first.
TEST(ImageStream, AThreadThatDoesNotStartIsAnErrorAndTheOthersEnd) {
  const auto start_too_many = [] {
    if (getuid() == 0 && setuid(65533) != 0) _exit(9);
    const rlimit limit{3, 3};
    setrlimit(RLIMIT_NPROC, &limit);
    try {
      ImageStream(std::vector<ImageSource>(100, {"/absent.png", ""}), find_protocol("clean"),
                  {.side = 8, .threads = 64});
    } catch (const Error& error) {
      std::fprintf(stderr, "%d: %s\n", static_cast<int>(error.code()), error.what());
      _exit(0);
    }
    _exit(1);
  };
  EXPECT_EXIT(start_too_many(), testing::ExitedWithCode(0), "1: only [0-9]+ of 64 threads .*; lower --threads");
}

// A decoder's first allocation is for the file that it takes; an exception there would end the program.
TEST(ImageStream, MemoryThatADecoderDoesNotGetForItsNextFileIsThrownByNext) {
  const auto take_a_file = [] {
    test::may_allocate = true;
    test::refuse_memory = true;
    try {
      ImageStream stream(std::vector<ImageSource>(100, {"/absent.png", ""}), find_protocol("clean"),
                         {.side = 8, .threads = 3});
      ImageStream::Batch batch;
      stream.next(1, batch);
    } catch (const std::bad_alloc&) {
      std::fprintf(stderr, "no memory\n");
      _exit(0);
    }
    _exit(1);
  };
  EXPECT_EXIT(take_a_file(), testing::ExitedWithCode(0), "no memory");
}

}  // namespace
}  // namespace tessera
