#pragma once

#include <filesystem>

namespace tessera {

/// From here on SIGINT, SIGTERM and SIGHUP (unless ignored, as under nohup) ask for a clean stop: the first one sets a
/// flag that throw_if_canceled() reads, a second one removes the temporary files on the list and ends the process at
/// once with 128 + its number. SIGXFSZ is ignored, so that `ulimit -f` shows as a write error. Safe to call more than
/// once.
void install_signal_handlers();

/// The signal that asked for a stop (SIGINT, SIGTERM, SIGHUP), 0 when none did.
int canceled();

/// Throws Error with exit code 130 (SIGINT), 143 (SIGTERM) or 129 (SIGHUP) once a stop was asked for.
/// Call between units of work that may take a second: a sampling step, a decoded chunk, a training step.
void throw_if_canceled();

/// Forgets an earlier signal. For tests, and for a program that goes on after a stopped job.
void reset_canceled();

/// A name on the list of files that the second signal removes, for as long as this object lives. The list holds 32
/// names of up to 4095 bytes; one that does not fit is left out and is only removed by its owner.
class RemoveOnSignal {
 public:
  explicit RemoveOnSignal(const std::filesystem::path& path);
  ~RemoveOnSignal();
  RemoveOnSignal(const RemoveOnSignal&) = delete;
  RemoveOnSignal& operator=(const RemoveOnSignal&) = delete;

 private:
  int slot_ = -1;
};

}  // namespace tessera
