#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace tessera {

/// A second thread that works off a queue in order; the queue holds a limited number of bytes.
/// It computes on one core and leaves the others to the thread that posts.
class OutputThread {
 public:
  explicit OutputThread(int64_t most_bytes);
  /// Finishes what was posted, unless a piece has thrown.
  ~OutputThread();
  OutputThread(const OutputThread&) = delete;
  OutputThread& operator=(const OutputThread&) = delete;

  /// Posts work that holds `bytes` of memory until it is done; waits while the queue would exceed the limit, unless it
  /// is empty. Throws what an earlier piece has thrown; the pieces after that one are dropped.
  void post(std::function<void()> work, int64_t bytes);
  /// Waits until everything is done. Throws what a piece has thrown.
  void finish();

 private:
  struct Piece {
    std::function<void()> work;
    int64_t bytes;
  };

  void run();

  int64_t most_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> pieces_;
  int64_t bytes_ = 0;  // of pieces that wait or are being done
  bool busy_ = false, closed_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace tessera
