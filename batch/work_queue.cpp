#include "batch/work_queue.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/cancel.h"

namespace tessera {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr int64_t kLongestRange = 256;  // jobs that one member leases at a time
constexpr auto kLeastWait = Milliseconds(10), kMostWait = Milliseconds(500), kSlowestBeat = Milliseconds(2000);
constexpr int kBeatsInALease = 6, kLeastLooksInALease = 4;

std::string key_of(size_t job) {
  return "job/" + std::to_string(job);
}

std::string key_of(int64_t member, const std::string& what) {
  return "member/" + std::to_string(member) + "/" + what;
}

std::vector<std::string> keys_of(const std::set<size_t>& jobs) {
  std::vector<std::string> keys;
  for (const size_t job : jobs) keys.push_back(key_of(job));
  return keys;
}

std::vector<std::string> keys_of(size_t jobs) {
  std::vector<std::string> keys;
  for (size_t job = 0; job < jobs; ++job) keys.push_back(key_of(job));
  return keys;
}

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, HOST_NAME_MAX) == 0 ? name : "?";
}

}  // namespace

std::string JobState::text() const {
  return std::string(1, phase) + " " + std::to_string(deaths) + " " + std::to_string(owner);
}

JobState JobState::parse(const std::string& text) {
  JobState state;
  std::istringstream(text) >> state.phase >> state.deaths >> state.owner;
  return state;
}

bool Pulses::is_dead(int64_t member) {
  if (store_.has(key_of(member, "dead"))) return true;
  const int64_t beats = store_.add(key_of(member, "beats"), 0);
  const auto now = clock_();
  Pulse& pulse = seen_[member];
  if (beats != pulse.beats) pulse = {.beats = beats, .looked = now};
  pulse.silent += std::min<std::chrono::steady_clock::duration>(now - pulse.looked, lease_ / kLeastLooksInALease);
  pulse.looked = now;
  return pulse.silent > lease_;
}

void WorkQueue::open(SharedStore& store, size_t jobs) {
  store.set_all(keys_of(jobs), JobState().text());
}

bool WorkQueue::all_done(SharedStore& store, size_t jobs) {
  const std::vector<std::string> texts = store.get_all(keys_of(jobs));
  return std::all_of(texts.begin(), texts.end(), [](const auto& text) { return JobState::parse(text).phase == 'd'; });
}

WorkQueue::WorkQueue(SharedStore& store, size_t jobs, int rank, int size, Milliseconds lease, Recorded recorded)
    : store_(store),
      jobs_(static_cast<int64_t>(jobs)),
      size_(size),
      recorded_(std::move(recorded)),
      pulses_(store, lease),
      member_(store.add("members", 1)) {
  const nlohmann::json self = {{"rank", rank}, {"host", host_name()}, {"process", getpid()}};
  store_.set(key_of(member_, "self"), self.dump());
  store_.beat(key_of(member_, "beats"), std::min(lease / kBeatsInALease, kSlowestBeat));
}

WorkQueue::~WorkQueue() {
  try {
    for (const auto& [job, state] : owned_)
      store_.swap(key_of(job), state.text(), JobState{'f', state.deaths, 0}.text());
    store_.set(key_of(member_, "left"), "");
  } catch (const StoreLost&) {  // then there is no queue to return them to
  }
}

bool WorkQueue::move(size_t job, const JobState& from, const JobState& to) {
  if (!store_.swap(key_of(job), from.text(), to.text())) {
    owned_.erase(job);
    return false;
  }
  owned_[job] = to;
  return true;
}

/// Leases the next range of undrawn jobs: long ranges at first, single jobs towards the end.
void WorkQueue::draw() {
  const int64_t left = jobs_ - store_.add("drawn", 0);
  const int64_t wanted = std::clamp<int64_t>(left / (2 * size_), 1, kLongestRange);
  const int64_t end = left > 0 ? store_.add("drawn", wanted) : jobs_;
  for (int64_t job = end - wanted; left > 0 && job < std::min(end, jobs_); ++job)
    if (move(static_cast<size_t>(job), {}, {'l', 0, member_})) leased_.push_back(static_cast<size_t>(job));
  if (end < jobs_) return;
  drawn_out_ = true;
  for (int64_t job = 0; job < jobs_; ++job) open_.insert(open_.end(), static_cast<size_t>(job));
}

/// The jobs that are not done, and their states.
std::map<size_t, JobState> WorkQueue::find_open() {
  const std::vector<size_t> jobs(open_.begin(), open_.end());
  const std::vector<std::string> texts = store_.get_all(keys_of(open_));
  std::map<size_t, JobState> states;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const JobState state = JobState::parse(texts[i]);
    if (state.phase == 'd')
      open_.erase(jobs[i]);
    else
      states.emplace_hint(states.end(), jobs[i], state);
  }
  return states;
}

/// Leases up to `count` jobs of other members, the last ones first. True when that changed anything.
bool WorkQueue::take_over(size_t count) {
  const auto states = find_open();
  bool changed = false;
  for (auto found = states.rbegin(); found != states.rend() && leased_.size() < count; ++found)
    changed |= take_over(found->first, found->second);
  return changed;
}

bool WorkQueue::take_over(size_t job, const JobState& state) {
  if (state.owner == member_) return false;
  const bool begun = state.phase == 's' || state.phase == 'r';
  if (begun) {
    if (!pulses_.is_dead(state.owner)) return false;
    if (const auto outcome = recorded_(read_member(store_, state.owner), job)) {
      if (store_.swap(key_of(job), state.text(), JobState{'d', state.deaths, state.owner}.text()))
        finish(job, *outcome);
      return true;
    }
  }
  if (!move(job, state, {'l', state.deaths + begun, member_})) return false;
  leased_.push_front(job);
  return true;
}

void WorkQueue::finish(size_t job, Outcome outcome) {
  owned_.erase(job);
  store_.add(outcome == Outcome::kDone ? "done" : "failed", 1);
}

/// Starts the first of the leased jobs that are consecutive and have not been taken over.
std::vector<size_t> WorkQueue::start(size_t count) {
  std::vector<size_t> jobs;
  while (!leased_.empty() && jobs.size() < count && (jobs.empty() || leased_.front() == jobs.back() + 1)) {
    const size_t job = leased_.front();
    leased_.pop_front();
    const JobState leased = owned_.at(job);
    if (move(job, leased, {'s', leased.deaths, member_})) jobs.push_back(job);
  }
  return jobs;
}

std::vector<size_t> WorkQueue::next(size_t count, bool wait) {
  for (Milliseconds pause = kLeastWait;; pause = std::min(2 * pause, kMostWait)) {
    throw_if_canceled();
    throw_if_stopped(store_);
    if (leased_.empty() && !drawn_out_) draw();
    if (leased_.empty() && drawn_out_ && take_over(count)) pause = kLeastWait;
    if (const auto jobs = start(count); !jobs.empty()) return jobs;
    if (!leased_.empty()) continue;
    if (drawn_out_ && open_.empty()) return {};
    if (drawn_out_ && !wait) return {};
    if (drawn_out_) std::this_thread::sleep_for(pause);
  }
}

int WorkQueue::deaths(size_t job) const {
  const auto found = owned_.find(job);
  return found == owned_.end() ? 0 : found->second.deaths;
}

bool WorkQueue::record(size_t job, Outcome outcome, const std::function<void()>& write) {
  const auto found = owned_.find(job);
  if (found == owned_.end()) return false;
  const int deaths = found->second.deaths;
  try {
    if (!move(job, JobState(found->second), {'r', deaths, member_})) return false;
  } catch (const StoreLost&) {
    write();
    throw;
  }
  write();
  if (move(job, {'r', deaths, member_}, {'d', deaths, member_})) finish(job, outcome);
  return true;
}

Member read_member(SharedStore& store, int64_t number) {
  Member member{.number = number, .rank = -1, .host = "?", .process = 0};
  const auto text = store.get(key_of(number, "self"));
  if (!text) return member;  // it died while it joined
  const nlohmann::json self = nlohmann::json::parse(*text);
  member.rank = self.at("rank");
  member.host = self.at("host");
  member.process = self.at("process");
  return member;
}

void report_dead(SharedStore& store, int64_t member) {
  store.set(key_of(member, "dead"), "");
}

void report_dead_process(SharedStore& store, int64_t process) {
  const int64_t members = store.add("members", 0);
  for (int64_t member = 1; member <= members; ++member)
    if (read_member(store, member).process == process) report_dead(store, member);
}

void stop_run(SharedStore& store, const std::string& reason, ExitCode code) {
  if (!store.has("stop"))
    store.set("stop", nlohmann::json{{"reason", reason}, {"code", static_cast<int>(code)}}.dump());
}

void throw_if_stopped(SharedStore& store) {
  const auto text = store.get("stop");
  if (!text) return;
  const nlohmann::json stop = nlohmann::json::parse(*text);
  throw Error(stop.at("reason"), static_cast<ExitCode>(stop.at("code").get<int>()));
}

bool all_have_left(SharedStore& store, Pulses& pulses) {
  const int64_t members = store.add("members", 0);
  for (int64_t member = 1; member <= members; ++member)
    if (!store.has(key_of(member, "left")) && !pulses.is_dead(member)) return false;
  return true;
}

WorkQueue::Counts read_counts(SharedStore& store) {
  return {.done = store.add("done", 0), .failed = store.add("failed", 0)};
}

}  // namespace tessera
