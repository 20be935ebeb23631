#pragma once

#include <filesystem>
#include <functional>

namespace tessera {

/// From now on SIGINT, SIGTERM and SIGHUP (unless ignored, as under nohup) request a clean stop: the first one sets a
/// flag that throw_if_canceled() reads, a second one removes the temporary files on the list and ends the process at
/// once with 128 + its number. SIGXFSZ is ignored, so that `ulimit -f` shows as a write error. Safe to call more than
/// once.
void install_signal_handlers();

/// The signal that requested a stop (SIGINT, SIGTERM, SIGHUP); 0 when none has arrived.
int canceled();

/// Throws Error with exit code 130 (SIGINT), 143 (SIGTERM) or 129 (SIGHUP) once a stop has been requested, and with 130
/// when the calling thread's CancelScope says so. Call between units of work that may take a second: a sampling step, a
/// decoded chunk, a training step.
void throw_if_canceled();

/// Forgets an earlier signal. For tests, and for programs that continue after a canceled job.
void reset_canceled();

/// For as long as this object lives, throw_if_canceled() on the thread that made it asks `canceled` too: how a caller
/// of the library stops one render without a signal. Scopes of a thread may not overlap.
class CancelScope {
 public:
  explicit CancelScope(std::function<bool()> canceled);
  ~CancelScope();
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

 private:
  std::function<bool()> canceled_;
};

/// A name on the list of files that the second signal removes, for as long as this object lives. The list holds 32
/// names of up to 4095 bytes; a name that does not fit is removed only by its owner.
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
