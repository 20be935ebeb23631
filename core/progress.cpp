#include "core/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "core/clock.h"
#include "core/printable.h"

namespace tessera {
namespace {

constexpr double kBarSeconds = 0.1, kLineSeconds = 10;
constexpr size_t kWidestBar = 40, kNarrowestBar = 10;

bool is_bar(ProgressStyle style) {
  return style == ProgressStyle::kBar || style == ProgressStyle::kColorBar;
}

size_t terminal_width() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string rate_text(int64_t done, double seconds) {
  if (done <= 0 || seconds <= 0) return "";
  const double rate = static_cast<double>(done) / seconds;
  char text[48];
  if (rate > 1)
    std::snprintf(text, sizeof text, "%.*f it/s", rate < 100 ? 2 : 0, rate);
  else
    std::snprintf(text, sizeof text, "%.2f s/it", 1 / rate);
  return text;
}

std::string bar_text(int64_t done, int64_t total, size_t width, bool color) {
  const size_t inner = width - 2;
  const size_t filled =
      total > 0 ? std::min(inner, inner * static_cast<size_t>(done) / static_cast<size_t>(total)) : inner;
  std::string bar(filled, '=');
  if (filled > 0 && filled < inner) bar.back() = '>';
  if (color) bar = "\033[36m" + bar + "\033[0m";
  return "[" + bar + std::string(inner - filled, ' ') + "]";
}

}  // namespace

ProgressStyle stderr_progress_style(bool quiet) {
  if (quiet) return ProgressStyle::kNone;
  const char* terminal = std::getenv("TERM");
  if (!isatty(STDERR_FILENO) || (terminal && std::string(terminal) == "dumb")) return ProgressStyle::kLines;
  const char* no_color = std::getenv("NO_COLOR");
  return no_color && *no_color ? ProgressStyle::kBar : ProgressStyle::kColorBar;
}

std::string clock_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds >= 99 * 3600.0) return "?";
  const auto whole = static_cast<int64_t>(std::lround(seconds));
  const int hours = static_cast<int>(whole / 3600), minutes = static_cast<int>(whole / 60 % 60);
  const int rest = static_cast<int>(whole % 60);
  char text[32];
  if (hours > 0)
    std::snprintf(text, sizeof text, "%d:%02d:%02d", hours, minutes, rest);
  else
    std::snprintf(text, sizeof text, "%d:%02d", minutes, rest);
  return text;
}

std::string progress_line(const std::string& label, int64_t done, int64_t total, double seconds, size_t width,
                          ProgressStyle style) {
  std::string tail = std::to_string(done) + "/" + std::to_string(total);
  const std::string rate = rate_text(done, seconds);
  if (!rate.empty()) tail += "  " + rate;
  if (done >= total)
    tail += "  " + clock_text(seconds);
  else if (done > 0)
    tail += "  " + clock_text(seconds / static_cast<double>(done) * static_cast<double>(total - done)) + " left";
  const size_t taken = label.size() + tail.size() + 5;  // two gaps of two, and the last column stays free
  const size_t bar = width > taken ? std::min(width - taken, kWidestBar) : 0;
  if (!is_bar(style) || bar < kNarrowestBar) return label + "  " + tail;
  return label + "  " + bar_text(done, total, bar, style == ProgressStyle::kColorBar) + "  " + tail;
}

Progress::Progress(std::string label, int64_t total, ProgressStyle style)
    : Progress(std::move(label), total, style, std::cerr, steady_seconds) {}

Progress::Progress(std::string label, int64_t total, ProgressStyle style, std::ostream& out, Clock clock)
    : label_(printable_line(label)),
      total_(total),
      style_(style),
      out_(out),
      clock_(std::move(clock)),
      started_(clock_()),
      shown_(started_) {
  if (is_bar(style_)) show();
}

Progress::Progress(int64_t total, std::function<void(int64_t done)> passed_on)
    : Progress("", total, ProgressStyle::kNone) {
  passed_on_ = std::move(passed_on);
}

Progress::~Progress() {
  if (line_open_) out_ << "\n" << std::flush;
}

void Progress::advance(int64_t steps) {
  const bool ended = done_ >= total_;
  done_ = std::min(done_ + steps, total_);
  if (passed_on_) passed_on_(done_);
  if (ended || style_ == ProgressStyle::kNone) return;
  const double wait = is_bar(style_) ? kBarSeconds : kLineSeconds;
  if (done_ == total_ || clock_() - shown_ >= wait) show();
}

void Progress::show() {
  shown_ = clock_();
  const std::string line = progress_line(label_, done_, total_, shown_ - started_, terminal_width(), style_);
  if (!is_bar(style_)) {
    out_ << line << std::endl;
    return;
  }
  line_open_ = done_ < total_;
  out_ << "\r" << line << "\033[K" << (line_open_ ? "" : "\n") << std::flush;
}

}  // namespace tessera
