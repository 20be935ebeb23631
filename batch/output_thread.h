#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace tessera {

/// A second thread that does pieces of work in the order in which they come, at most a number of bytes behind.
/// It computes with one core, so that the thread that hands work over keeps the others.
class OutputThread {
 public:
  explicit OutputThread(int64_t most_bytes);
  /// Does what was handed over, unless a piece has thrown.
  ~OutputThread();
  OutputThread(const OutputThread&) = delete;
  OutputThread& operator=(const OutputThread&) = delete;

  /// Hands over work that keeps `bytes` in memory until it is done; waits while that is more than the limit, unless
  /// nothing else waits. What an earlier piece has thrown is thrown here; later pieces are dropped.
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
