#include <gtest/gtest.h>

#include <chrono>

#include "media/picture.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

/// A render that takes minutes, seen running before it gets `signal`; how it ended, and how soon.
struct Stopped {
  test::ProcessResult result;
  double seconds;
};

Stopped stopped_by(int signal, const std::filesystem::path& output) {
  const auto model = test::fixture_folder() / "wan_pipeline" / "pipeline";
  test::Process process({TESSERA_BINARY, "generate", "a star", "--model", model, "--size", "64x64", "--frames", "17",
                         "--steps", "1000", "--seed", "1", "--max-sequence-length", "64", "-o", output});
  EXPECT_TRUE(process.said("seed 1"));
  const double begun = process.cpu_seconds();
  test::wait_until([&] { return process.cpu_seconds() > begun + 0.2; });
  process.signal(signal);
  const auto start = std::chrono::steady_clock::now();
  test::ProcessResult result = process.wait();
  return {std::move(result), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

TEST(Interrupt, StopsWithinAStepAndLeavesNothing) {
  for (const auto& [signal, exit_code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    for (const char* name : {"x.mp4", "f_%03d.png"}) {
      const test::TemporaryFolder folder;
      const Stopped stopped = stopped_by(signal, folder / name);
      EXPECT_EQ(stopped.result.exit_code, exit_code) << stopped.result.err;
      EXPECT_EQ(stopped.result.out, "");
      EXPECT_NE(stopped.result.err.find("stopped by"), std::string::npos) << stopped.result.err;
      EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{});
      EXPECT_LT(stopped.seconds, 10.0);
    }
  }
}

TEST(Interrupt, KeepsThePreviewThatItWasStoppedFor) {
  const test::TemporaryFolder folder;
  const auto model = test::fixture_folder() / "wan_pipeline" / "pipeline";
  test::Process process({TESSERA_BINARY, "generate", "a star", "--model", model, "--size", "64x48", "--frames", "17",
                         "--steps", "1000", "--seed", "1", "--max-sequence-length", "64", "--preview", "1", "-o",
                         folder / "x.mp4"});
  EXPECT_TRUE(test::wait_until([&] { return std::filesystem::exists(folder / "x.preview.png"); }));
  process.signal(SIGINT);
  EXPECT_EQ(process.wait().exit_code, 130);
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{"x.preview.png"});
  const at::Tensor picture = read_picture(folder / "x.preview.png");  // four of five latent frames, at half the size
  EXPECT_EQ(picture.size(0), 24);
  EXPECT_EQ(picture.size(1), 4 * 32);
}

}  // namespace
}  // namespace tessera
