#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/shared_store.h"

namespace tessera {

/// A process that takes part in a run.
struct Member {
  int64_t number = 0;  ///< from 1, in the order of joining; a process that is started again gets another
  int rank = 0;
  std::string host;
  int64_t process = 0;
};

/// Tells dead members from live ones: dead is a member that was reported dead, or whose count of heartbeats has not
/// changed for `lease` by the observer's clock. A long gap between two looks counts for a quarter of the lease only:
/// the observer may have been suspended together with the member.
class Pulses {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  /// `clock` is replaced in tests.
  Pulses(SharedStore& store, std::chrono::milliseconds lease, Clock clock = std::chrono::steady_clock::now)
      : store_(store), lease_(lease), clock_(std::move(clock)) {}
  bool is_dead(int64_t member);

 private:
  struct Pulse {
    int64_t beats = -1;
    std::chrono::steady_clock::time_point looked;
    std::chrono::steady_clock::duration silent{0};
  };

  SharedStore& store_;
  std::chrono::milliseconds lease_;
  Clock clock_;
  std::map<int64_t, Pulse> seen_;
};

/// What the store holds of a job.
struct JobState {
  char phase = 'f';   ///< the first letter of free, leased, started, recording, done
  int deaths = 0;     ///< members that died after they had started it
  int64_t owner = 0;  ///< a member; 0: none

  std::string text() const;
  static JobState parse(const std::string& text);
};

/// Jobs, numbered from 0, that the members of a run do together. The state of each lies in a SharedStore:
///
///   free -> leased -> started -> recording -> done
///
/// Every transition is one compare-and-swap that names the member, so a job has one owner at a time. Members draw
/// ranges of free jobs; one that finds none left takes over jobs that others leased and have not started. A member that
/// misses heartbeats for `lease`, or that was reported dead, loses the jobs that it started too, unless its record has
/// them as finished. A member claims a job before it records it, so one that was taken for dead and comes back cannot
/// record it twice.
class WorkQueue {
 public:
  using Milliseconds = std::chrono::milliseconds;
  enum class Outcome { kDone, kFailed };
  /// The outcome of a job by the record of a dead member; nullopt: it has none.
  using Recorded = std::function<std::optional<Outcome>(const Member&, size_t job)>;

  struct Counts {
    int64_t done = 0, failed = 0;
  };

  /// Makes a queue of `jobs` free jobs in an empty store; members may join from then on.
  static void open(SharedStore& store, size_t jobs);
  /// Whether every one of the jobs is done.
  static bool all_done(SharedStore& store, size_t jobs);

  /// Joins as a new member and starts its heartbeats. `size` is the number of members to expect.
  WorkQueue(SharedStore& store, size_t jobs, int rank, int size, Milliseconds lease, Recorded recorded);
  /// Returns the jobs that were leased and not finished, and leaves.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  /// At most `count` consecutive jobs, started: this member alone has them. None when all are done. While others work
  /// on the last ones it waits for them, or without `wait` returns none. Throws Error when the run was stopped (see
  /// stop_run) or by signal; StoreLost.
  std::vector<size_t> next(size_t count, bool wait = true);
  /// The jobs that are leased and not started: they are likely to come next.
  const std::deque<size_t>& ahead() const { return leased_; }
  /// The members that died during this job, which next() has handed out.
  int deaths(size_t job) const;
  /// Calls `write` to record a started job and marks it as done. Returns false without calling it when another member
  /// has taken the job over. When the store is lost, `write` is called first and StoreLost thrown after.
  bool record(size_t job, Outcome outcome, const std::function<void()>& write);

 private:
  bool move(size_t job, const JobState& from, const JobState& to);
  void draw();
  std::map<size_t, JobState> find_open();
  bool take_over(size_t count);
  bool take_over(size_t job, const JobState& state);
  void finish(size_t job, Outcome outcome);
  std::vector<size_t> start(size_t count);

  SharedStore& store_;
  int64_t jobs_;
  int size_;
  Recorded recorded_;
  Pulses pulses_;
  int64_t member_;
  std::deque<size_t> leased_;
  std::map<size_t, JobState> owned_;
  bool drawn_out_ = false;
  std::set<size_t> open_;  // not known to be done; filled when no free job is left to draw
};

/// A member of the run by its number.
Member read_member(SharedStore& store, int64_t number);
/// Reports that a member has died, so that its jobs go to others at once.
void report_dead(SharedStore& store, int64_t member);
/// The same by the process id on this machine; does nothing for a process that has not joined.
void report_dead_process(SharedStore& store, int64_t process);
/// Asks all members to stop with `reason`; the first reason is kept.
void stop_run(SharedStore& store, const std::string& reason, ExitCode code);
/// Throws the Error that stop_run asked for.
void throw_if_stopped(SharedStore& store);
/// Whether every member has left or died.
bool all_have_left(SharedStore& store, Pulses& pulses);
/// The counts of the queue, for a process that is no member.
WorkQueue::Counts read_counts(SharedStore& store);

}  // namespace tessera
