#include "batch/output_thread.h"

#include <c10/core/InferenceMode.h>

#include "core/threads.h"

namespace tessera {

OutputThread::OutputThread(int64_t most_bytes) : most_bytes_(most_bytes), thread_([this] { run(); }) {}

OutputThread::~OutputThread() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void OutputThread::post(std::function<void()> work, int64_t bytes) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || bytes_ == 0 || bytes_ + bytes <= most_bytes_; });
  if (failure_) std::rethrow_exception(failure_);
  pieces_.push_back({std::move(work), bytes});
  bytes_ += bytes;
  changed_.notify_all();
}

void OutputThread::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || (pieces_.empty() && !busy_); });
  if (failure_) std::rethrow_exception(failure_);
}

void OutputThread::run() {
  const c10::InferenceMode inference;
  use_threads_here(1);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return closed_ || !pieces_.empty(); });
    if (pieces_.empty()) return;
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    busy_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      piece.work();
    } catch (...) {
      failure = std::current_exception();
    }
    piece.work = nullptr;
    lock.lock();
    busy_ = false;
    bytes_ -= piece.bytes;
    if (failure) {
      failure_ = failure;
      pieces_.clear();
      bytes_ = 0;
      closed_ = true;
    }
    changed_.notify_all();
  }
}

}  // namespace tessera
