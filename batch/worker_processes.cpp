#include "batch/worker_processes.h"

#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/ranks.h"

namespace tessera {
namespace {

std::vector<std::string> own_arguments() {
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string one; std::getline(in, one, '\0');) arguments.push_back(one);
  return arguments;
}

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

std::vector<std::string> environment_of(int worker, int count, const Variables& added) {
  Variables variables = environment_variables();
  for (const auto& [name, value] : added) variables[name] = value;
  variables["TESSERA_WORKER"] = std::to_string(worker);
  variables["TESSERA_WORKERS"] = std::to_string(count);
  variables.try_emplace("OMP_NUM_THREADS", std::to_string(std::max(1, usable_cores() / count)));
  std::vector<std::string> lines;
  for (const auto& [name, value] : variables) lines.push_back(name + "=" + value);
  return lines;
}

std::vector<char*> pointers_to(std::vector<std::string>& lines) {
  std::vector<char*> pointers;
  for (std::string& line : lines) pointers.push_back(line.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// What the new process does. Other threads may have held locks at the fork: system calls only.
[[noreturn]] void become(const char* program, char* const* arguments, char* const* environment, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(128 + SIGTERM);
  close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  execve(program, arguments, environment);
  _exit(127);
}

}  // namespace

WorkerProcesses::WorkerProcesses(int count, const Variables& variables) {
  std::vector<std::string> arguments = own_arguments();
  const std::vector<char*> argument_pointers = pointers_to(arguments);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const pid_t self = getpid();
  for (int worker = 0; worker < count; ++worker) {
    std::vector<std::string> environment = environment_of(worker, count, variables);
    const std::vector<char*> environment_pointers = pointers_to(environment);
    const pid_t child = fork();
    if (child == 0) become(program.c_str(), argument_pointers.data(), environment_pointers.data(), self);
    if (child < 0) {
      const int error_number = errno;
      signal(SIGKILL);
      throw Error("cannot start worker " + std::to_string(worker) + ": " + std::strerror(error_number) +
                      "; choose fewer --workers",
                  ExitCode::kFailed);
    }
    running_.push_back(child);
  }
}

WorkerProcesses::~WorkerProcesses() {
  signal(SIGKILL);
  for (const pid_t process : running_)
    if (process > 0) waitpid(process, nullptr, 0);
}

std::vector<WorkerProcesses::Ended> WorkerProcesses::ended() {
  std::vector<Ended> found;
  for (size_t worker = 0; worker < running_.size(); ++worker) {
    int status = 0;
    if (running_[worker] == 0 || waitpid(running_[worker], &status, WNOHANG) != running_[worker]) continue;
    const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    found.push_back({.worker = static_cast<int>(worker), .process = running_[worker], .exit_code = code});
    running_[worker] = 0;
  }
  return found;
}

bool WorkerProcesses::all_ended() const {
  return std::all_of(running_.begin(), running_.end(), [](pid_t process) { return process == 0; });
}

void WorkerProcesses::signal(int number) const {
  for (const pid_t process : running_)
    if (process > 0) kill(process, number);
}

}  // namespace tessera
