#include "core/cancel.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace tessera {
namespace {

constexpr size_t kLongestName = 4096;

enum SlotState : int { kFree, kFilling, kLive };

struct Slot {
  std::atomic<int> state{kFree};
  std::array<char, kLongestName> name{};
};

// Plain static storage and lock-free atomics: a signal handler may touch nothing else.
std::array<Slot, 32> slots;
std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free);

thread_local const std::function<bool()>* caller_canceled = nullptr;

void on_signal(int signal) {
  int none = 0;
  if (received.compare_exchange_strong(none, signal)) return;
  for (const Slot& slot : slots)
    if (slot.state.load() == kLive) unlink(slot.name.data());
  _exit(128 + signal);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);
}

int canceled() {
  return received.load(std::memory_order_relaxed);
}

void throw_if_canceled() {
  if (caller_canceled && (*caller_canceled)())
    throw Error("canceled; nothing unfinished was kept", ExitCode::kInterrupted);
  const int signal = canceled();
  if (signal == 0) return;
  const std::string name = signal == SIGINT ? "Ctrl-C" : signal == SIGTERM ? "SIGTERM" : "SIGHUP";
  throw Error("stopped by " + name + "; unfinished files were removed", static_cast<ExitCode>(128 + signal));
}

void reset_canceled() {
  received.store(0);
}

CancelScope::CancelScope(std::function<bool()> canceled) : canceled_(std::move(canceled)) {
  if (canceled_) caller_canceled = &canceled_;
}

CancelScope::~CancelScope() {
  caller_canceled = nullptr;
}

RemoveOnSignal::RemoveOnSignal(const std::filesystem::path& path) {
  const std::string& name = path.native();
  if (name.size() >= kLongestName) return;
  for (size_t i = 0; i < slots.size(); ++i) {
    int free = kFree;
    if (!slots[i].state.compare_exchange_strong(free, kFilling)) continue;
    std::memcpy(slots[i].name.data(), name.c_str(), name.size() + 1);
    slots[i].state.store(kLive);
    slot_ = static_cast<int>(i);
    return;
  }
}

RemoveOnSignal::~RemoveOnSignal() {
  if (slot_ >= 0) slots[static_cast<size_t>(slot_)].state.store(kFree);
}

}  // namespace tessera
