#include "core/profile.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/clock.h"

namespace tessera {
namespace {

thread_local ProfileScope* innermost = nullptr;
constexpr const char* kOther = "other";

/// A small number for this thread: 1 for the first that asks.
int64_t thread_number() {
  static std::atomic<int64_t> threads{0};
  thread_local const int64_t number = ++threads;
  return number;
}

std::string row_text(const std::string& name, double seconds, double total, const std::string& calls) {
  char line[160];
  const double share = total > 0 ? 100 * seconds / total : 0.0;
  std::snprintf(line, sizeof line, "  %-28s %10.3f %7.1f%% %9s\n", name.c_str(), seconds, share, calls.c_str());
  return line;
}

}  // namespace

std::atomic<Profile*> current_profile{nullptr};

Profile::Profile(std::function<void()> synchronize, Clock clock)
    : synchronize_(std::move(synchronize)), clock_(clock ? std::move(clock) : steady_seconds), began_(clock_()) {
  Profile* none = nullptr;
  TORCH_CHECK(current_profile.compare_exchange_strong(none, this), "Profile: another one is recording");
}

Profile::~Profile() {
  current_profile = nullptr;
}

void Profile::record(const char* name, double start, double seconds, double inner, bool outermost) {
  const int64_t thread = thread_number();
  const std::lock_guard lock(mutex_);
  Row& row = rows_[name];
  row.name = name;
  row.seconds += seconds - inner;
  ++row.calls;
  if (outermost) scoped_[thread] += seconds;
  if (events_.size() < kMostEvents)
    events_.push_back({name, start, seconds, thread});
  else
    ++dropped_;
}

double Profile::seconds() const {
  return now();
}

std::vector<Profile::Row> Profile::rows() const {
  const double total = seconds();
  const std::lock_guard lock(mutex_);
  std::vector<Row> out;
  for (const auto& [name, row] : rows_) out.push_back(row);
  std::stable_sort(out.begin(), out.end(), [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
  const auto mine = scoped_.find(thread_number());
  const double scoped = mine == scoped_.end() ? 0.0 : mine->second;
  out.push_back({kOther, std::max(0.0, total - scoped), 0});
  return out;
}

std::string Profile::table() const {
  const double total = seconds();
  std::string text = "  part                            seconds    share     calls\n";
  for (const Row& row : rows())
    text += row_text(row.name, row.seconds, total, row.calls > 0 ? std::to_string(row.calls) : "");
  return text + row_text("total", total, total, "");
}

std::string Profile::trace() const {
  constexpr double kMicroseconds = 1e6;
  const std::lock_guard lock(mutex_);
  nlohmann::ordered_json events = nlohmann::ordered_json::array();
  for (const Event& event : events_)
    events.push_back({{"name", event.name},
                      {"cat", "tessera"},
                      {"ph", "X"},
                      {"ts", event.start * kMicroseconds},
                      {"dur", event.seconds * kMicroseconds},
                      {"pid", 1},
                      {"tid", event.thread}});
  const nlohmann::ordered_json whole = {
      {"traceEvents", events}, {"displayTimeUnit", "ms"}, {"otherData", {{"dropped_events", dropped_}}}};
  return whole.dump();
}

void ProfileScope::begin(const char* name) {
  profile_->synchronize();
  name_ = name;
  outer_ = innermost;
  innermost = this;
  start_ = profile_->now();
}

void ProfileScope::end() {
  profile_->synchronize();
  const double seconds = profile_->now() - start_;
  innermost = outer_;
  if (outer_) outer_->inner_ += seconds;
  profile_->record(name_, start_, seconds, inner_, outer_ == nullptr);
}

}  // namespace tessera
