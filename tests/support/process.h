#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/files.h"

namespace tessera::test {

/// Looks every few milliseconds whether something has happened; false when it has not within `seconds`, which only a
/// program that hangs should need.
inline bool wait_until(const std::function<bool()>& happened, double seconds = 120) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!happened()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

/// How a program ended and what it said.
struct ProcessResult {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  std::string out, err;
  double cpu_seconds = 0;
  int64_t peak_kilobytes = 0;  ///< of resident memory
};

/// A program on its way, its output in files of a temporary folder.
class Process {
 public:
  /// `limit_file_bytes` > 0 sets RLIMIT_FSIZE; `environment` holds NAME=VALUE additions.
  explicit Process(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {},
                   long limit_file_bytes = 0) {
    child_ = fork();
    if (child_ != 0) return;
    if (limit_file_bytes > 0) {
      const rlimit limit{static_cast<rlim_t>(limit_file_bytes), static_cast<rlim_t>(limit_file_bytes)};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    for (const std::string& variable : environment)
      setenv(variable.substr(0, variable.find('=')).c_str(), variable.substr(variable.find('=') + 1).c_str(), 1);
    redirect(1, folder_ / "out");
    redirect(2, folder_ / "err");
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  ~Process() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number) const { ::kill(child_, number); }
  pid_t id() const { return child_; }

  bool has_ended() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child_;
  }

  /// Kills it; false when it had ended by itself.
  bool kill() const {
    signal(SIGSTOP);  // so that it cannot end between the look and the kill
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WSTOPPED | WNOWAIT);
    signal(SIGKILL);
    return info.si_code == CLD_STOPPED;
  }

  /// True once stderr holds `text`; false when the program ended without it.
  bool said(const std::string& text) const {
    bool ended = false;
    wait_until([&] {
      ended = has_ended();
      return ended || read_text(folder_ / "err").find(text) != std::string::npos;
    });
    return read_text(folder_ / "err").find(text) != std::string::npos;
  }

  /// Sends a signal and waits until the program has taken it: a second one of its kind would merge with one on its way.
  void signal_taken(int number) const {
    signal(number);
    const uint64_t bit = uint64_t{1} << (number - 1);
    wait_until([&] { return has_ended() || !(status("ShdPnd", 16) & bit); });
  }

  /// Seconds of computing so far, of all its threads.
  double cpu_seconds() const {
    std::istringstream fields(read_text("/proc/" + std::to_string(child_) + "/stat"));
    std::string field;
    double ticks = 0;
    for (int i = 1; i <= 15 && fields >> field; ++i)
      if (i >= 14) ticks += std::stod(field);  // utime and stime; the name in field 2 is one word
    return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

  ProcessResult wait() {
    int status = 0;
    rusage usage{};
    wait4(child_, &status, 0, &usage);
    child_ = 0;
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
    };
    return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), read_text(folder_ / "out"),
            read_text(folder_ / "err"), seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss};
  }

 private:
  /// A number of /proc/ID/status.
  uint64_t status(const std::string& name, int base) const {
    const std::string text = read_text("/proc/" + std::to_string(child_) + "/status");
    const size_t at = text.find(name + ":");
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size() + 1), nullptr, base);
  }

  static void redirect(int descriptor, const std::filesystem::path& path) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, descriptor);
    close(file);
  }

  TemporaryFolder folder_;
  pid_t child_ = -1;
};

/// Runs the built program to its end.
inline ProcessResult tessera(std::vector<std::string> arguments, const std::vector<std::string>& environment = {},
                             long limit_file_bytes = 0) {
  arguments.insert(arguments.begin(), TESSERA_BINARY);
  return Process(arguments, environment, limit_file_bytes).wait();
}

}  // namespace tessera::test
