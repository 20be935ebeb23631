#include "batch/work_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/cancel.h"

namespace tessera {
namespace {

using namespace std::chrono_literals;
using Outcome = WorkQueue::Outcome;

// Only a test of silence may be ended by one: on a busy machine a thread may not run for seconds.
constexpr auto kPatience = 60s, kLease = 60s;
constexpr auto kShortLease = 300ms;

/// A store with connections of several members.
class Queue : public testing::Test {
 protected:
  void open(size_t count) {
    jobs = count;
    WorkQueue::open(*host, count);
  }
  std::unique_ptr<SharedStore> connect() { return SharedStore::connect("127.0.0.1", host->port(), kPatience); }
  WorkQueue join(SharedStore& store, int rank = 0, int size = 2, WorkQueue::Recorded recorded = nothing,
                 std::chrono::milliseconds lease = kLease) {
    return WorkQueue(store, jobs, rank, size, lease, std::move(recorded));
  }
  JobState state(size_t job) { return JobState::parse(*host->get("job/" + std::to_string(job))); }
  /// Does what a member does with one job.
  static bool render(WorkQueue& queue, size_t job, Outcome outcome = Outcome::kDone) {
    return queue.record(job, outcome, [] {});
  }
  static std::optional<Outcome> nothing(const Member&, size_t) { return {}; }

  std::unique_ptr<SharedStore> host = SharedStore::host(0, true, kPatience);
  size_t jobs = 0;
};

TEST_F(Queue, TheStoreIsATable) {
  const auto other = connect();
  EXPECT_FALSE(other->get("a"));
  host->set("a", std::string("x\0y", 3));
  EXPECT_EQ(host->get("a"), std::string("x\0y", 3));  // a set has no answer: the same connection knows when it is done
  EXPECT_EQ(other->get("a"), std::string("x\0y", 3));
  EXPECT_EQ(other->add("n", 3), 3);
  EXPECT_EQ(host->add("n", -1), 2);
  EXPECT_FALSE(other->swap("a", "x", "z"));
  EXPECT_TRUE(other->swap("a", std::string("x\0y", 3), "z"));
  EXPECT_EQ(host->get("a"), "z");
  std::vector<std::string> keys;
  for (int i = 0; i < 3000; ++i) keys.push_back("key" + std::to_string(i));
  host->set_all(keys, "v");
  EXPECT_EQ(host->get("key2999"), "v");
  other->set("key2999", "w");
  const auto values = other->get_all(keys);
  ASSERT_EQ(values.size(), 3000u);
  EXPECT_EQ(values[2998] + values[2999], "vw");
}

TEST_F(Queue, TheEndOfTheHostIsNoticed) {
  const auto other = connect();
  const uint16_t port = host->port();
  host.reset();
  EXPECT_THROW(other->add("n", 1), StoreLost);
  EXPECT_THROW(other->get("n"), StoreLost);
  EXPECT_EQ(SharedStore::connect("127.0.0.1", port, kPatience), nullptr);
}

TEST_F(Queue, APortThatIsTakenIsSaidSo) {
  try {
    SharedStore::host(host->port(), true, kPatience);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cannot listen on port " + std::to_string(host->port())),
              std::string::npos);
  }
}

TEST_F(Queue, OneMemberDoesAllInOrder) {
  open(20);
  WorkQueue queue = join(*host);
  std::vector<size_t> order;
  for (auto some = queue.next(3); !some.empty(); some = queue.next(3)) {
    EXPECT_LE(some.size(), 3u);
    for (const size_t job : some) {
      EXPECT_TRUE(render(queue, job, job == 7 ? Outcome::kFailed : Outcome::kDone));
      order.push_back(job);
    }
  }
  ASSERT_EQ(order.size(), 20u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(read_counts(*host).done, 19);
  EXPECT_EQ(read_counts(*host).failed, 1);
}

TEST_F(Queue, StretchesShrinkTowardsTheEnd) {
  open(100);
  WorkQueue queue = join(*host, 0, 2);
  EXPECT_EQ(queue.next(1), std::vector<size_t>{0});
  EXPECT_EQ(queue.ahead().size(), 24u);  // a quarter of the hundred: half of this member's half
}

TEST_F(Queue, ManyMembersDoEachJobOnce) {
  open(300);
  std::vector<std::atomic<int>> times(300);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 4; ++rank)
    threads.emplace_back([&, rank] {
      const auto store = connect();
      WorkQueue queue = join(*store, rank, 4);
      for (auto some = queue.next(4); !some.empty(); some = queue.next(4))
        for (const size_t job : some) queue.record(job, Outcome::kDone, [&] { ++times[job]; });
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t job = 0; job < 300; ++job) EXPECT_EQ(times[job], 1) << job;
  EXPECT_EQ(read_counts(*host).done, 300);
  Pulses pulses(*host, kLease);
  EXPECT_TRUE(all_have_left(*host, pulses));
}

TEST_F(Queue, WhoHasNothingLeftTakesWhatAnotherHasNotStarted) {
  open(8);
  const auto slow_store = connect();
  WorkQueue slow = join(*slow_store, 0, 1), quick = join(*host, 1, 2);
  ASSERT_EQ(slow.next(1), std::vector<size_t>{0});  // and leases up to 3
  for (size_t done = 0; done < 7; ++done) {
    const auto some = quick.next(1);
    ASSERT_EQ(some.size(), 1u);
    EXPECT_NE(some[0], 0u) << "it was started";
    EXPECT_TRUE(render(quick, some[0]));
  }
  EXPECT_TRUE(render(slow, 0));
  EXPECT_TRUE(slow.next(1).empty()) << "they were taken";
  EXPECT_TRUE(quick.next(1).empty());
}

TEST_F(Queue, WhoLeavesGivesBack) {
  open(4);
  {
    const auto store = connect();
    WorkQueue leaving = join(*store, 0, 1);
    ASSERT_EQ(leaving.next(1), std::vector<size_t>{0});
    EXPECT_EQ(state(0).phase, 's');
    EXPECT_EQ(state(1).phase, 'l');
  }
  EXPECT_EQ(state(0).text(), "f 0 0") << "no death is counted";
  EXPECT_EQ(state(1).text(), "f 0 0");
  WorkQueue other = join(*host);
  size_t done = 0;
  for (auto some = other.next(2); !some.empty(); some = other.next(2))
    for (const size_t job : some) done += render(other, job);
  EXPECT_EQ(done, 4u);
}

/// Makes the owner of a job dead, in the midst of it.
void die(SharedStore& host, size_t job, char phase) {
  const JobState started = JobState::parse(*host.get("job/" + std::to_string(job)));
  host.set("job/" + std::to_string(job), JobState{phase, started.deaths, started.owner}.text());
  report_dead(host, started.owner);
}

TEST_F(Queue, TheWorkOfADeadMemberIsDoneAgainUnlessItsRecordHasIt) {
  open(2);
  const auto store = connect();
  WorkQueue dying = join(*store, 5, 1);
  ASSERT_EQ(dying.next(1), std::vector<size_t>{0});
  ASSERT_EQ(dying.next(1), std::vector<size_t>{1});
  die(*host, 0, 'r');
  die(*host, 1, 's');
  std::vector<size_t> asked;
  WorkQueue heir = join(*host, 0, 2, [&](const Member& member, size_t job) -> std::optional<Outcome> {
    EXPECT_EQ(member.rank, 5);
    EXPECT_EQ(member.process, getpid());
    asked.push_back(job);
    return job == 0 ? std::optional(Outcome::kFailed) : std::nullopt;
  });
  EXPECT_EQ(heir.next(2), std::vector<size_t>{1});
  EXPECT_EQ(asked, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(heir.deaths(1), 1);
  // The dead one comes back: it may not record what it thinks is its own.
  EXPECT_FALSE(dying.record(1, Outcome::kDone, [] { FAIL(); }));
  EXPECT_TRUE(heir.record(1, Outcome::kDone, [] {}));
  EXPECT_TRUE(heir.next(1).empty());
  EXPECT_EQ(read_counts(*host).done, 1);
  EXPECT_EQ(read_counts(*host).failed, 1);
}

TEST_F(Queue, AMemberWithoutHeartbeatsLosesItsJobs) {
  open(1);
  WorkQueue heir = join(*host, 1, 2, nothing, kShortLease);
  const int64_t silent = host->add("members", 1);
  host->set("job/0", JobState{'s', 0, silent}.text());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(heir.next(1), std::vector<size_t>{0});
  EXPECT_GE(std::chrono::steady_clock::now() - start, kShortLease);
}

/// A clock that goes when it is told to.
struct SetClock {
  std::chrono::steady_clock::time_point now;
  Pulses::Clock get() {
    return [this] { return now; };
  }
};

TEST_F(Queue, AMemberKeepsItsLeaseAsLongAsItsHeartbeatsArrive) {
  open(1);
  SetClock clock;
  Pulses pulses(*host, kLease, clock.get());
  const int64_t member = host->add("members", 1);
  for (int beat = 0; beat < 20; ++beat) {
    host->add("member/" + std::to_string(member) + "/beats", 1);
    for (int look = 0; look < 4; ++look, clock.now += kLease / 4) ASSERT_FALSE(pulses.is_dead(member)) << beat;
  }
  EXPECT_FALSE(pulses.is_dead(member)) << "just a lease";
  clock.now += 1ms;
  EXPECT_TRUE(pulses.is_dead(member));
}

TEST_F(Queue, AMemberSendsHeartbeatsWhetherItRestsOrIsBusy) {
  open(1);
  const auto store = connect();
  WorkQueue member = join(*store, 0, 1, nothing, kShortLease);
  const auto beats = [&] { return host->add("member/1/beats", 0); };
  // Busy: it has called the store again before the next heartbeat is due.
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (beats() < 3 && std::chrono::steady_clock::now() < deadline) store->has("member/1/left");
  const int64_t busy = beats();
  EXPECT_GE(busy, 3);
  while (beats() < busy + 3 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
  EXPECT_GE(beats(), busy + 3);
}

TEST_F(Queue, AGapBetweenTwoLooksIsNoSilence) {
  SetClock clock;
  const int64_t silent = host->add("members", 1);
  Pulses pulses(*host, kLease, clock.get());
  int gaps = 0;
  for (; !pulses.is_dead(silent); ++gaps) clock.now += 100 * kLease;  // whoever looks was stopped, perhaps with it
  EXPECT_EQ(gaps, 5) << "a gap counts for a quarter of the lease, and more than all four are wanted";
}

TEST_F(Queue, DeathsAreCounted) {
  open(1);
  const auto first_store = connect(), second_store = connect();
  WorkQueue first = join(*first_store), second = join(*second_store);
  ASSERT_EQ(first.next(1), std::vector<size_t>{0});
  die(*host, 0, 's');
  ASSERT_EQ(second.next(1), std::vector<size_t>{0});
  die(*host, 0, 's');
  WorkQueue third = join(*host);
  ASSERT_EQ(third.next(1), std::vector<size_t>{0});
  EXPECT_EQ(third.deaths(0), 2);
  EXPECT_TRUE(third.record(0, Outcome::kFailed, [] {}));
  EXPECT_TRUE(third.next(1).empty());
  EXPECT_EQ(read_counts(*host).failed, 1);
}

TEST_F(Queue, WithoutTheStoreWhatIsUnderWayIsStillRecorded) {
  open(2);
  const auto store = connect();
  WorkQueue queue = join(*store, 0, 1);
  ASSERT_EQ(queue.next(1), std::vector<size_t>{0});
  host.reset();
  bool written = false;
  EXPECT_THROW(queue.record(0, Outcome::kDone, [&] { written = true; }), StoreLost);
  EXPECT_TRUE(written);
  EXPECT_THROW(queue.next(1), StoreLost);
}

TEST_F(Queue, AStopReachesEverybody) {
  open(3);
  WorkQueue queue = join(*host);
  ASSERT_FALSE(queue.next(1).empty());
  const auto store = connect();
  stop_run(*store, "enough", ExitCode::kPartlyDone);
  stop_run(*store, "later", ExitCode::kFailed);
  try {
    queue.next(1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "enough");
    EXPECT_EQ(error.code(), ExitCode::kPartlyDone);
  }
}

TEST_F(Queue, AFailedRecordGivesTheJobBack) {
  open(1);
  {
    const auto store = connect();
    WorkQueue queue = join(*store);
    ASSERT_EQ(queue.next(1), std::vector<size_t>{0});
    EXPECT_THROW(queue.record(0, Outcome::kDone, [] { throw Error("disk full"); }), Error);
  }
  EXPECT_EQ(state(0).phase, 'f');
}

}  // namespace
}  // namespace tessera
