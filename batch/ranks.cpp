#include "batch/ranks.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>
#include <random>
#include <thread>
#include <unordered_map>

#include "batch/outputs.h"
#include "core/atomic_file.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/sha256.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr auto kJoinPatience = std::chrono::minutes(10);
constexpr auto kSayWaitingAfter = std::chrono::seconds(10);
constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr auto kMergePatience = std::chrono::seconds(10);
constexpr std::chrono::milliseconds kLeastPatience = std::chrono::seconds(5);

/// Equal plans render equal bytes: the hash of each job covers its recipe, the model and the program's version.
std::string plan_hash(const BatchPlan& plan) {
  Sha256 hash;
  for (const BatchJob& job : plan.jobs) hash.update(job.id + "\n" + job.hash + "\n");
  return hash.hex();
}

std::string new_run_id() {
  std::random_device random;
  return std::to_string(getpid()) + "-" + std::to_string(random()) + std::to_string(random());
}

/// How long the store may take to answer before it counts as lost: a busy machine is slow.
std::chrono::milliseconds patience_of(const SharedBatch& shared) {
  return std::max(shared.lease, kLeastPatience);
}

bool on_this_machine(const Ranks& ranks) {
  return ranks.launcher == "tessera" || ranks.one_machine() || ranks.address == "127.0.0.1" ||
         ranks.address == "localhost";
}

/// Addresses that may reach this machine, the likeliest first.
std::vector<std::string> own_addresses(const Ranks& ranks) {
  if (on_this_machine(ranks)) return {"127.0.0.1"};
  std::vector<std::string> addresses;
  if (!ranks.address.empty()) addresses.push_back(ranks.address);
  char name[HOST_NAME_MAX + 1] = {};
  if (gethostname(name, HOST_NAME_MAX) == 0) addresses.push_back(name);
  ifaddrs* found = nullptr;
  if (getifaddrs(&found) != 0) return addresses;
  for (const ifaddrs* one = found; one; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || (one->ifa_flags & IFF_LOOPBACK)) continue;
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text, sizeof text);
    addresses.push_back(text);
  }
  freeifaddrs(found);
  return addresses;
}

/// A bit for each job of the plan: whether it is still to be done.
std::string left_bits(const BatchPlan& plan, const std::vector<const BatchJob*>& left) {
  std::string bits((plan.jobs.size() + 7) / 8, '\0');
  for (const BatchJob* job : left) {
    const auto at = static_cast<size_t>(job - plan.jobs.data());
    bits[at / 8] = static_cast<char>(bits[at / 8] | 1 << at % 8);
  }
  return bits;
}

std::vector<const BatchJob*> left_jobs(const BatchPlan& plan, const std::string& bits) {
  std::vector<const BatchJob*> left;
  for (size_t at = 0; at < plan.jobs.size(); ++at)
    if (bits.at(at / 8) >> at % 8 & 1) left.push_back(&plan.jobs[at]);
  return left;
}

/// The run that the file in the folder points to; nullptr when there is none, or it has ended.
std::unique_ptr<SharedStore> connect_to_run(const fs::path& folder, std::chrono::milliseconds patience) {
  std::ifstream in(run_file(folder));
  try {
    const nlohmann::json run = nlohmann::json::parse(in);
    for (const std::string& host : run.at("hosts").get<std::vector<std::string>>()) {
      auto store = SharedStore::connect(host, run.at("port"), patience);
      // Another program may listen where an earlier run did.
      if (store && store->get("run") == run.at("run").get<std::string>()) return store;
    }
  } catch (const nlohmann::json::exception&) {
  } catch (const StoreLost&) {
  }
  return nullptr;
}

std::unique_ptr<SharedStore> find_run(const fs::path& folder, const SharedBatch& shared,
                                      const BatchRecord::Note& note) {
  const auto start = std::chrono::steady_clock::now();
  bool said = false;
  for (;;) {
    throw_if_canceled();
    if (auto store = connect_to_run(folder, patience_of(shared))) return store;
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > kJoinPatience)
      throw Error("rank " + std::to_string(shared.ranks.rank) + " found no run of rank 0 in the folder " +
                      folder.string() +
                      " within ten minutes; check that rank 0 is running and that the machines share this folder",
                  ExitCode::kFailed);
    if (waited > kSayWaitingAfter && !std::exchange(said, true)) note("waiting for rank 0");
    std::this_thread::sleep_for(kPoll);
  }
}

/// Jobs from the queue, recorded in a shard of this rank's own.
class QueueSource : public WorkSource {
 public:
  QueueSource(SharedStore& store, std::vector<const BatchJob*> jobs, const fs::path& folder, const SharedBatch& shared)
      : store_(store),
        jobs_(std::move(jobs)),
        folder_(folder),
        shard_(shard_path(folder, shared.ranks.rank)),
        queue_(store, jobs_.size(), shared.ranks.rank, shared.ranks.size, shared.lease,
               [this](const Member& member, size_t job) { return recorded_by(member, *jobs_[job]); }) {
    for (size_t at = 0; at < jobs_.size(); ++at) numbers_.emplace(jobs_[at], at);
  }

  std::vector<const BatchJob*> next(size_t count, bool wait) override { return jobs_of(queue_.next(count, wait)); }
  std::vector<const BatchJob*> ahead() const override { return jobs_of(queue_.ahead()); }
  int deaths(const BatchJob& job) const override { return queue_.deaths(numbers_.at(&job)); }
  bool record(const BatchJob& job, const ManifestEntry& entry) override {
    return queue_.record(numbers_.at(&job), outcome_of(entry), [&] { shard_.append(entry); });
  }
  Counts counts() override {
    const WorkQueue::Counts counts = read_counts(store_);
    return {.done = counts.done, .failed = counts.failed};
  }

 private:
  static WorkQueue::Outcome outcome_of(const ManifestEntry& entry) {
    return entry.status == "done" ? WorkQueue::Outcome::kDone : WorkQueue::Outcome::kFailed;
  }

  template <class Numbers>
  std::vector<const BatchJob*> jobs_of(const Numbers& numbers) const {
    std::vector<const BatchJob*> jobs;
    for (const size_t number : numbers) jobs.push_back(jobs_[number]);
    return jobs;
  }

  std::optional<WorkQueue::Outcome> recorded_by(const Member& member, const BatchJob& job) const {
    const fs::path shard = shard_path(folder_, member.rank);
    if (!fs::exists(shard)) return {};
    const Manifest theirs(shard, Manifest::Access::kRead);
    const ManifestEntry* entry = theirs.find(job.id);
    if (!entry || entry->hash != job.hash) return {};
    if (entry->status == "done") KeptLatents(folder_, job).remove();
    return outcome_of(*entry);
  }

  SharedStore& store_;
  std::vector<const BatchJob*> jobs_;
  std::unordered_map<const BatchJob*, size_t> numbers_;
  fs::path folder_;
  Manifest shard_;
  WorkQueue queue_;
};

BatchSummary render_as_host(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options,
                            const SharedBatch& shared, const BatchListener& listener) {
  BatchHost host(plan, options, shared, listener.note);
  try {
    QueueSource source(host.store(), host.left(), options.folder, shared);
    render_jobs(source, host.summary(), renderer, options, listener);
  } catch (const Error& error) {
    stop_run(host.store(), std::string("rank 0 stopped: ") + error.what(), error.code());
    host.wait_for_ranks();
    throw;
  }
  host.wait_for_ranks();
  return host.finish();
}

BatchSummary render_as_member(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options,
                              const SharedBatch& shared, const BatchListener& listener) {
  const auto store = find_run(options.folder, shared, listener.note);
  if (store->get("plan") != plan_hash(plan) || store->get("size") != std::to_string(shared.ranks.size))
    throw Error("rank " + std::to_string(shared.ranks.rank) + " does not belong to the run in " +
                options.folder.string() +
                ": its prompt file, options, model, number of ranks or version of tessera differ from those of rank 0");
  const auto left = left_jobs(plan, *store->get("left"));
  BatchSummary before;
  before.total = static_cast<int64_t>(plan.jobs.size());
  before.skipped = before.total - static_cast<int64_t>(left.size());
  QueueSource source(*store, left, options.folder, shared);
  try {
    return render_jobs(source, before, renderer, options, listener);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kPartlyDone) stop_run(*store, error.what(), error.code());
    throw;
  }
}

}  // namespace

BatchHost::BatchHost(const BatchPlan& plan, const BatchOptions& options, const SharedBatch& shared,
                     const BatchRecord::Note& note)
    : folder_(options.folder),
      shared_(shared),
      note_(note),
      record_(plan, options, note),
      store_(SharedStore::host(shared.ranks.port, on_this_machine(shared.ranks), patience_of(shared))) {
  const std::string run = new_run_id();
  WorkQueue::open(*store_, left().size());
  store_->set("plan", plan_hash(plan));
  store_->set("size", std::to_string(shared.ranks.size));
  store_->set("left", left_bits(plan, left()));
  store_->set("run", run);
  const nlohmann::json file = {{"run", run}, {"hosts", own_addresses(shared.ranks)}, {"port", store_->port()}};
  write_file_atomically(run_file(folder_), file.dump() + "\n");
}

BatchHost::~BatchHost() {
  std::error_code ignored;
  fs::remove(run_file(folder_), ignored);
  try {
    merge(std::chrono::milliseconds(0));
  } catch (const std::exception&) {  // --resume merges them
  }
}

void BatchHost::merge(std::chrono::milliseconds patience) {
  for (const fs::path& shard : find_shards(folder_))
    if (!record_.manifest().merge(shard, patience) && patience.count() > 0)
      note_(shard.filename().string() + " is still locked by a process that misses heartbeats; --resume merges it");
}

bool BatchHost::all_done() {
  return WorkQueue::all_done(*store_, left().size());
}

void BatchHost::wait_for_ranks() {
  const auto start = std::chrono::steady_clock::now();
  const auto all_joined = [&] {
    return store_->add("members", 0) >= shared_.ranks.size ||
           std::chrono::steady_clock::now() - start > patience_of(shared_);
  };
  Pulses pulses(*store_, shared_.lease);
  while (!canceled() && !(all_joined() && all_have_left(*store_, pulses))) std::this_thread::sleep_for(kPoll);
}

BatchSummary BatchHost::finish() {
  throw_if_canceled();
  remove_unfinished_files(folder_);
  merge(kMergePatience);
  BatchSummary whole = summary();
  for (const BatchJob* job : left()) {
    const ManifestEntry* entry = record_.manifest().find(job->id);
    if (!entry || entry->hash != job->hash) continue;
    ++(entry->status == "done" ? whole.done : whole.failed);
    if (entry->status == "done") KeptLatents(folder_, *job).remove();
  }
  // A process that died while saving latents leaves the empty folder.
  std::error_code ignored;
  fs::remove(folder_ / "latents", ignored);
  return whole;
}

BatchSummary run_batch_rank(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options,
                            const SharedBatch& shared, const BatchListener& listener) {
  return (shared.ranks.leads() ? render_as_host : render_as_member)(plan, renderer, options, shared, listener);
}

}  // namespace tessera
