#include "core/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <sstream>

namespace tessera {
namespace {

/// Runs ten steps of `step_seconds` each and returns what was printed.
std::string ten_steps(ProgressStyle style, double step_seconds, int64_t steps = 10) {
  std::ostringstream out;
  double now = 100;
  {
    Progress progress("denoise", 10, style, out, [&] { return now; });
    for (int64_t i = 0; i < steps; ++i) {
      now += step_seconds;
      progress.advance();
    }
  }
  return out.str();
}

TEST(ClockText, ShowsHoursOnlyWhenThereAreSome) {
  EXPECT_EQ(clock_text(0), "0:00");
  EXPECT_EQ(clock_text(59.6), "1:00");
  EXPECT_EQ(clock_text(3723), "1:02:03");
  EXPECT_EQ(clock_text(400000), "?");
  EXPECT_EQ(clock_text(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(ProgressLine, ShowsStepsRateAndTimeLeft) {
  EXPECT_EQ(progress_line("denoise", 12, 30, 6, 60, ProgressStyle::kBar),
            "denoise  [======>            ]  12/30  2.00 it/s  0:09 left");  // 19 columns inside, 19 * 12 / 30 = 7.6
  EXPECT_EQ(progress_line("denoise", 3, 30, 12, 80, ProgressStyle::kLines), "denoise  3/30  4.00 s/it  1:48 left");
  EXPECT_EQ(progress_line("denoise", 30, 30, 3600, 80, ProgressStyle::kLines), "denoise  30/30  120.00 s/it  1:00:00");
  EXPECT_EQ(progress_line("denoise", 0, 30, 0, 80, ProgressStyle::kLines), "denoise  0/30");
}

TEST(ProgressLine, FitsTheTerminalAndLeavesTheBarOutWhereThereIsNoRoom) {
  for (const size_t width : {20u, 48u, 49u, 60u, 80u, 200u}) {
    const std::string line = progress_line("denoise", 12, 30, 6, width, ProgressStyle::kBar);
    EXPECT_EQ(line.find('[') != std::string::npos, width >= 49) << width;
    if (width >= 49) {
      EXPECT_LT(line.size(), width);
    }
  }
}

TEST(ProgressLine, OnlyTheColorBarHasEscapes) {
  EXPECT_NE(progress_line("x", 1, 2, 1, 80, ProgressStyle::kColorBar).find("\033["), std::string::npos);
  EXPECT_EQ(progress_line("x", 1, 2, 1, 80, ProgressStyle::kBar).find('\033'), std::string::npos);
}

TEST(Progress, PlainLinesComeEveryTenSecondsAndAtTheEnd) {
  EXPECT_EQ(ten_steps(ProgressStyle::kLines, 0.5), "denoise  10/10  2.00 it/s  0:05\n");
  EXPECT_EQ(ten_steps(ProgressStyle::kLines, 4),
            "denoise  3/10  4.00 s/it  0:28 left\ndenoise  6/10  4.00 s/it  0:16 left\n"
            "denoise  9/10  4.00 s/it  0:04 left\ndenoise  10/10  4.00 s/it  0:40\n");
}

TEST(Progress, ABarIsRedrawnInPlaceAndItsLineAlwaysEnds) {
  const std::string whole = ten_steps(ProgressStyle::kBar, 0.5);
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\r'), 11);  // the empty bar and ten steps
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 1);
  const std::string fast = ten_steps(ProgressStyle::kBar, 0.001);
  EXPECT_EQ(std::count(fast.begin(), fast.end(), '\r'), 2);
  const std::string broken_off = ten_steps(ProgressStyle::kBar, 0.5, 4);
  EXPECT_EQ(broken_off.back(), '\n');
  EXPECT_NE(broken_off.find("4/10"), std::string::npos);
}

TEST(Progress, QuietPrintsNothing) {
  EXPECT_EQ(ten_steps(ProgressStyle::kNone, 5), "");
}

TEST(ProgressStyle, IsPlainWithoutATerminal) {
  EXPECT_EQ(stderr_progress_style(true), ProgressStyle::kNone);
  const auto redirected = [] {
    if (!std::freopen("/dev/null", "w", stderr)) _exit(9);
    _exit(stderr_progress_style(false) == ProgressStyle::kLines ? 0 : 1);
  };
  EXPECT_EXIT(redirected(), testing::ExitedWithCode(0), "");
}

// A pseudo-terminal stands in for the user's.
TEST(ProgressStyle, OnATerminalRespectsNoColorAndDumbTerminals) {
  const auto style_on_terminal = [](const char* no_color, const char* term) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) _exit(9);
    const int slave = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    if (slave < 0 || dup2(slave, STDERR_FILENO) < 0) _exit(8);
    setenv("NO_COLOR", no_color, 1);
    setenv("TERM", term, 1);
    _exit(static_cast<int>(stderr_progress_style(false)));
  };
  const auto exits = [](ProgressStyle style) { return testing::ExitedWithCode(static_cast<int>(style)); };
  EXPECT_EXIT(style_on_terminal("", "xterm"), exits(ProgressStyle::kColorBar), "");
  EXPECT_EXIT(style_on_terminal("1", "xterm"), exits(ProgressStyle::kBar), "");
  EXPECT_EXIT(style_on_terminal("", "dumb"), exits(ProgressStyle::kLines), "");
}

}  // namespace
}  // namespace tessera
