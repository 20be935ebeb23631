#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>

namespace tessera {

/// How progress is shown: not at all, as a plain line every ten seconds and at the end, or as a bar redrawn in place.
enum class ProgressStyle { kNone, kLines, kBar, kColorBar };

/// The style for stderr: kNone when `quiet`, kLines when it is not a terminal or TERM is "dumb", else a bar, colored
/// unless NO_COLOR is set to anything.
ProgressStyle stderr_progress_style(bool quiet);

/// "0:07", "12:30", "1:02:03"; "?" when it is not finite or more than 99 hours.
std::string clock_text(double seconds);

/// One progress line, no newline: `label  [====>   ]  12/30  1.53 it/s  0:11 left`. `width` is the terminal's; the bar
/// takes the remaining width and is omitted below 10 columns. At one step per second or slower the rate is in s/it;
/// when done == total the time taken replaces the time left.
std::string progress_line(const std::string& label, int64_t done, int64_t total, double seconds, size_t width,
                          ProgressStyle style);

/// Counts the steps of one job and shows them on stderr, never on stdout, or passes them on.
class Progress {
 public:
  using Clock = std::function<double()>;  ///< seconds, monotonic

  /// `total` >= 0 steps. `out` and `clock` are replaced in tests. Draws the empty bar at once.
  Progress(std::string label, int64_t total, ProgressStyle style);
  Progress(std::string label, int64_t total, ProgressStyle style, std::ostream& out, Clock clock);
  /// Shows nothing; calls `passed_on` (may be empty) with the steps done after each advance.
  Progress(int64_t total, std::function<void(int64_t done)> passed_on);
  /// Ends an unfinished bar with a newline, so that the next message starts its own line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `steps` more are done. Redraws at most ten times a second; the last step is always shown and ends the line.
  void advance(int64_t steps = 1);

 private:
  void show();

  std::string label_;
  int64_t done_ = 0, total_;
  ProgressStyle style_;
  std::ostream& out_;
  Clock clock_;
  std::function<void(int64_t)> passed_on_;
  double started_, shown_;
  bool line_open_ = false;
};

}  // namespace tessera
