#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace tessera::test {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// A folder of the running test's own, empty at first and removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tessera_test_XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// How a program ended and what it said.
struct ProcessResult {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  std::string out, err;
  double cpu_seconds = 0;
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
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number) const { kill(child_, number); }
  pid_t id() const { return child_; }

  /// True once stderr holds `text`; false after `seconds`, or when the program ended without it.
  bool said(const std::string& text, double seconds) const {
    const auto start = std::chrono::steady_clock::now();
    while (read_text(folder_ / "err").find(text) == std::string::npos) {
      if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
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
            read_text(folder_ / "err"), seconds(usage.ru_utime) + seconds(usage.ru_stime)};
  }

 private:
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

/// Names of everything in a folder, hidden files too, sorted.
inline std::vector<std::string> listing(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    names.push_back(std::filesystem::relative(entry.path(), folder).string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace tessera::test
