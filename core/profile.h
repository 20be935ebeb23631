#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace tessera {

/// Where the time of a run goes: while it lives, every ProfileScope of every thread is recorded. One at a time.
class Profile {
 public:
  using Clock = std::function<double()>;  ///< seconds, monotonic

  /// `synchronize` (may be empty) waits for the device that the work is queued on, so that a scope ends when its work
  /// has; it is called at both ends of every scope. `clock` is replaced in tests. Throws c10::Error when another lives.
  explicit Profile(std::function<void()> synchronize = {}, Clock clock = {});
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// Seconds inside scopes of one name but not in scopes within them, and how often they ran.
  struct Row {
    std::string name;
    double seconds = 0;
    int64_t calls = 0;
  };
  /// The rows, most seconds first; at the end "other", what the calling thread spent outside of scopes since the
  /// profile began. Rows of other threads ran beside it.
  std::vector<Row> rows() const;
  /// Seconds since it began.
  double seconds() const;
  /// The rows for people: seconds, share and calls, a line each.
  std::string table() const;
  /// The Trace Event Format that chrome://tracing and Perfetto read: complete events ("ph": "X") in microseconds. Of
  /// more than kMostEvents the first are kept, and `otherData` tells how many are missing.
  std::string trace() const;
  static constexpr size_t kMostEvents = 1'000'000;

 private:
  friend class ProfileScope;
  struct Event {
    const char* name;
    double start, seconds;
    int64_t thread;
  };
  double now() const { return clock_() - began_; }
  void synchronize() const {
    if (synchronize_) synchronize_();
  }
  /// A scope of `seconds`, `inner` of them in scopes within it; `outermost`: it is in none itself.
  void record(const char* name, double start, double seconds, double inner, bool outermost);

  std::function<void()> synchronize_;
  Clock clock_;
  double began_ = 0;
  mutable std::mutex mutex_;
  std::map<std::string, Row> rows_;
  std::map<int64_t, double> scoped_;  // seconds of each thread in scopes
  std::vector<Event> events_;
  int64_t dropped_ = 0;
};

/// The profile that lives, nullptr for none.
extern std::atomic<Profile*> current_profile;

/// A part of the work, from here to the end of the block. Costs one branch when there is no profile.
class ProfileScope {
 public:
  /// `name` must outlive the profile: a literal.
  explicit ProfileScope(const char* name) : profile_(current_profile.load(std::memory_order_relaxed)) {
    if (profile_) begin(name);
  }
  ~ProfileScope() {
    if (profile_) end();
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  void begin(const char* name);
  void end();

  Profile* profile_;
  const char* name_ = nullptr;
  ProfileScope* outer_ = nullptr;
  double start_ = 0, inner_ = 0;  // seconds in scopes within
};

}  // namespace tessera
