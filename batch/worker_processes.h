#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace tessera {

/// Processes of this program with this process's own command line, told by TESSERA_WORKER and TESSERA_WORKERS which of
/// how many they are (see core/ranks.h). The cores this process may use are divided among them (OMP_NUM_THREADS, unless
/// it is set). Keys pressed in the terminal reach this process alone, which passes the signals on; when it is killed
/// the others are told to stop.
class WorkerProcesses {
 public:
  struct Ended {
    int worker;
    pid_t process;
    int exit_code;  ///< 128 + signal when a signal ended it
  };

  /// Starts `count` of them. Throws Error when the system allows no more.
  explicit WorkerProcesses(int count);
  /// Kills those that still run.
  ~WorkerProcesses();
  WorkerProcesses(const WorkerProcesses&) = delete;
  WorkerProcesses& operator=(const WorkerProcesses&) = delete;

  /// Those that ended since the last call; does not wait.
  std::vector<Ended> ended();
  bool all_ended() const;
  void signal(int number) const;

 private:
  std::vector<pid_t> running_;  // by worker; 0: ended
};

}  // namespace tessera
