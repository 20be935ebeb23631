#include "core/cancel.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <thread>

#include "core/error.h"

namespace tessera {
namespace {

int exit_code_after(int signal) {
  reset_canceled();
  std::signal(signal, SIG_DFL);  // the tests themselves may run under nohup
  install_signal_handlers();
  raise(signal);
  EXPECT_EQ(canceled(), signal);
  int code = 0;
  try {
    throw_if_canceled();
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
  }
  reset_canceled();
  return code;
}

TEST(Cancel, NothingHappensWithoutASignal) {
  reset_canceled();
  EXPECT_EQ(canceled(), 0);
  EXPECT_NO_THROW(throw_if_canceled());
}

TEST(Cancel, TheFirstSignalBecomesAnErrorWithTheShellsExitCode) {
  EXPECT_EQ(exit_code_after(SIGINT), 130);
  EXPECT_EQ(exit_code_after(SIGTERM), 143);
  EXPECT_EQ(exit_code_after(SIGHUP), 129);
}

TEST(Cancel, AScopeCancelsOnItsOwnThreadForAsLongAsItLives) {
  reset_canceled();
  bool stop = false;
  {
    const CancelScope scope([&] { return stop; });
    EXPECT_NO_THROW(throw_if_canceled());
    stop = true;
    EXPECT_THROW(throw_if_canceled(), Error);
    std::thread([] { EXPECT_NO_THROW(throw_if_canceled()); }).join();
  }
  EXPECT_NO_THROW(throw_if_canceled());
}

TEST(Cancel, TheSecondSignalEndsTheProcess) {
  const auto twice = [] {
    install_signal_handlers();
    raise(SIGINT);
    raise(SIGTERM);
    _exit(9);
  };
  EXPECT_EXIT(twice(), testing::ExitedWithCode(143), "");
}

TEST(Cancel, NohupIsRespected) {
  const auto hung_up = [] {
    std::signal(SIGHUP, SIG_IGN);
    install_signal_handlers();
    raise(SIGHUP);
    _exit(canceled());
  };
  EXPECT_EXIT(hung_up(), testing::ExitedWithCode(0), "");
}

TEST(RemoveOnSignal, TheListHoldsThirtyTwoNamesAndTakesNewOnesAfterwards) {
  char name[] = "/tmp/tessera_cancel_XXXXXX";
  close(mkstemp(name));
  const auto crowd = [&] {
    install_signal_handlers();
    {
      std::vector<std::unique_ptr<RemoveOnSignal>> many;
      for (int i = 0; i < 40; ++i)
        many.push_back(std::make_unique<RemoveOnSignal>("/nonexistent/" + std::to_string(i)));
    }
    const RemoveOnSignal too_long(std::string(5000, 'x'));
    const RemoveOnSignal last(name);
    raise(SIGINT);
    raise(SIGINT);
  };
  EXPECT_EXIT(crowd(), testing::ExitedWithCode(130), "");
  EXPECT_FALSE(std::filesystem::exists(name));
}

}  // namespace
}  // namespace tessera
