#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/ranks.h"

namespace tessera {

/// Processes of this program with this process's own command line, told by TESSERA_WORKER and TESSERA_WORKERS which of
/// how many they are (see core/ranks.h). The cores this process may use are divided among them (OMP_NUM_THREADS, unless
/// it is set). Signals from the terminal reach this process alone, which forwards them; when it is killed, the
/// others get SIGTERM.
class WorkerProcesses {
 public:
  struct Ended {
    int worker;
    pid_t process;
    int exit_code;  ///< 128 + signal when a signal ended it
  };

  /// Starts `count` of them with `variables` added to their environment. Throws Error when the system allows no more.
  WorkerProcesses(int count, const Variables& variables);
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
