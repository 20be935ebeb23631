#include "batch/batch.h"

#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "batch/record.h"
#include "batch/started_job.h"
#include "core/cancel.h"
#include "core/disk_space.h"
#include "core/error.h"
#include "pipelines/output.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kManifestRoom = 65536;
constexpr int64_t kTrimEvery = 16;  // jobs
constexpr int kMostDeaths = 2;      // processes that may die while rendering a job before it is failed
constexpr int64_t kMostFrameBytes = int64_t{256} << 20;  // decoded and not yet written
constexpr int64_t kJobBytes = kMostFrameBytes / 8;       // what a decoded job counts for at least: it keeps a file open

using JobPointer = std::shared_ptr<StartedJob>;

/// A running batch. The calling thread denoises and decodes; the output thread writes and records.
class Batch {
 public:
  Batch(WorkSource& source, const BatchSummary& before, Renderer& renderer, const BatchOptions& options,
        const BatchListener& listener)
      : source_(source),
        renderer_(renderer),
        options_(options),
        listener_(listener),
        summary_(before),
        output_(kMostFrameBytes) {}

  BatchSummary run() {
    for (auto jobs = next(); !jobs.empty(); jobs = next()) {
      prepare(jobs);
      std::vector<std::vector<const BatchJob*>> groups;  // jobs of one shape
      std::map<std::string, size_t> group_of;
      for (const BatchJob* job : jobs) {
        const auto [found, fresh] = group_of.try_emplace(renderer_.shape(job->job), groups.size());
        if (fresh) groups.emplace_back();
        groups[found->second].push_back(job);
      }
      for (const auto& group : groups) render(group);
    }
    output_.finish();
    const std::lock_guard lock(mutex_);
    update_summary();
    return summary_;
  }

 private:
  std::vector<const BatchJob*> next() {
    const auto count = static_cast<size_t>(options_.batch_size);
    {
      const std::lock_guard lock(mutex_);
      auto jobs = source_.next(count, /*wait=*/false);
      if (!jobs.empty()) return jobs;
    }
    output_.finish();  // other processes may wait for what this one has yet to record
    return source_.next(count, /*wait=*/true);
  }

  /// Encodes the prompts of these jobs together with those of the jobs that come next.
  void prepare(const std::vector<const BatchJob*>& jobs) {
    const auto is_prepared = [&](const BatchJob* job) { return prepared_.count(job) > 0; };
    if (std::all_of(jobs.begin(), jobs.end(), is_prepared)) return;
    std::vector<const BatchJob*> together = jobs;
    {
      const std::lock_guard lock(mutex_);
      for (const BatchJob* job : source_.ahead()) together.push_back(job);
    }
    std::vector<const Job*> wanted;
    for (const BatchJob* job : together) wanted.push_back(&job->job);
    const Stopwatch watch;
    renderer_.prepare(wanted, listener_.note);
    prepare_seconds_ = watch.seconds() / static_cast<double>(wanted.size());
    prepared_ = {together.begin(), together.end()};
  }

  /// Expects the lock.
  void update_summary() {
    const WorkSource::Counts counts = source_.counts();
    summary_.done = counts.done;
    summary_.failed = counts.failed;
  }

  /// "[3/30, 1:20 left] " or, for several jobs, "[3-6/30, 1:20 left] ".
  std::string label(size_t jobs = 1) {
    const std::lock_guard lock(mutex_);
    const int64_t recorded = summary_.done + summary_.failed;
    const auto count = static_cast<int64_t>(jobs);
    const int64_t first = summary_.skipped + std::max(recorded, begun_ - count) + 1;
    std::string text = "[" + std::to_string(first);
    if (jobs > 1) text += "-" + std::to_string(first + count - 1);
    text += "/" + std::to_string(summary_.total);
    if (recorded > 0) {
      const auto left = static_cast<double>(summary_.total - summary_.skipped - recorded);
      text += ", " + clock_text(watch_.seconds() / static_cast<double>(recorded) * left) + " left";
    }
    return text + "] ";
  }

  void check_room(const BatchJob& job, size_t jobs) const {
    try {
      const int64_t room = largest_output_bytes(job.job) + kManifestRoom;
      check_free_space(job.job.output, room * static_cast<int64_t>(jobs));
    } catch (const Error& error) {
      throw Error(std::string(error.what()) + "; then run again with --resume", ExitCode::kFailed);
    }
  }

  /// Jobs of one shape.
  void render(const std::vector<const BatchJob*>& group) {
    std::vector<JobPointer> started, without_latents;
    for (const BatchJob* job : group) {
      throw_if_canceled();
      std::error_code ignored;
      fs::create_directories(fs::path(job->job.output).parent_path(), ignored);
      check_room(*job, group.size());
      const JobPointer begun = std::make_shared<StartedJob>(options_.folder, *job);
      begun->entry.text_seconds = prepare_seconds_;
      if (const auto failure = failure_of([&] { begin(*begun); }))
        post_record(begun, failure);
      else
        started.push_back(begun);
    }
    begun_ += static_cast<int64_t>(group.size());
    for (const JobPointer& job : started)
      if (!job->latents.defined()) without_latents.push_back(job);
    denoise(without_latents);
    for (const JobPointer& job : started)
      if (job->latents.defined()) decode(job);
  }

  /// Whatever can fail early fails here, before the sampling.
  void begin(StartedJob& job) {
    int deaths = 0;
    {
      const std::lock_guard lock(mutex_);
      deaths = source_.deaths(job.job);
    }
    if (deaths >= kMostDeaths)
      throw Error(std::to_string(deaths) + " processes died while rendering this job; it was not tried again",
                  ExitCode::kFailed);
    job.writer = open_output(job.job.job);
    if (listener_.tap) job.writer = listener_.tap(job.job, std::move(job.writer));
    if (options_.resume || deaths > 0) job.latents = job.kept.read();
  }

  /// Fills in the latents of jobs of one shape; those that fail are recorded.
  void denoise(const std::vector<JobPointer>& jobs) {
    if (jobs.empty()) return;
    const Stopwatch watch;
    std::vector<DenoiseResult> results;
    const auto failure = failure_of([&] { results = sample(jobs); });
    if (failure && jobs.size() > 1) {
      const auto middle = jobs.begin() + static_cast<std::ptrdiff_t>(jobs.size() / 2);
      denoise({jobs.begin(), middle});
      denoise({middle, jobs.end()});
      return;
    }
    for (size_t i = 0; i < jobs.size(); ++i) {
      jobs[i]->entry.denoise_seconds = watch.seconds() / static_cast<double>(jobs.size());
      const auto own = failure ? failure : failure_of([&] { take(*jobs[i], results[i]); });
      if (own) post_record(jobs[i], own);
    }
  }

  std::vector<DenoiseResult> sample(const std::vector<JobPointer>& jobs) {
    std::vector<DenoiseRequest> asked;
    for (const JobPointer& job : jobs) asked.push_back({.job = &job->job.job});
    const auto most = static_cast<size_t>(options_.deterministic ? 1 : options_.batch_size);
    BatchLimit& limit =
        limits_.try_emplace(renderer_.shape(*asked.front().job), BatchLimit{most, listener_.note}).first->second;
    Progress progress(label(jobs.size()) + "denoising", renderer_.calls(*asked.front().job), options_.progress);
    return renderer_.denoise(asked, limit, progress);
  }

  void take(StartedJob& job, const DenoiseResult& result) {
    if (result.failure) std::rethrow_exception(result.failure);
    if (job.job.job.step_cache) listener_.note(job.job.id + ": " + step_cache_text(result.step_cache));
    if (const std::string text = normalizer_text(result.normalizers); !text.empty())
      listener_.note(job.job.id + ": " + text);
    job.entry.step_cache = result.step_cache;
    job.entry.normalizers = result.normalizers;
    if (*job.job.job.frames > 1) job.kept.save(result.latents);
    job.latents = result.latents;
  }

  void decode(const JobPointer& job) {
    const Stopwatch watch;
    const auto failure = failure_of([&] {
      QueuedWriter writer(job, output_);
      Progress progress(label() + "decoding", *job->job.job.frames, options_.progress);
      const FrameProblem problem = renderer_.decode(job->job.job, job->latents, writer, progress);
      if (problem != FrameProblem::kNone)
        throw Error("the frames of " + job->job.name + " are " + problem_text(problem) +
                        "; try --dtype fp32, another seed or a lower --cfg-scale",
                    ExitCode::kBadPixels);
    });
    job->entry.decode_seconds = watch.seconds() - job->waited_seconds;
    output_.post([this, job, failure] { finish(*job, job->write_failed ? job->write_failure : failure); }, kJobBytes);
  }

  /// For a job that has no frames; the record keeps the order of the jobs.
  void post_record(const JobPointer& job, const std::optional<Failure>& failure) {
    output_.post([this, job, failure] { record(*job, failure); }, 0);
  }

  /// In the output thread.
  void finish(StartedJob& job, std::optional<Failure> failure) {
    const Stopwatch watch;
    if (!failure) failure = failure_of([&] { job.entry.sha256 = sha256_of_output(job.job.job); });
    job.entry.decode_seconds += job.written_seconds + watch.seconds();
    if (failure) failure_of([&] { job.kept.save(job.latents); });
    record(job, failure);
  }

  /// In the output thread.
  void record(StartedJob& job, const std::optional<Failure>& failure) {
    job.writer.reset();  // removes an unfinished file
    ManifestEntry& entry = job.entry;
    if (failure) {
      entry.status = failure->bad_pixels ? "bad_pixels" : "failed";
      entry.error = failure->text;
      entry.latents = job.kept.name();
    }
    const std::lock_guard lock(mutex_);
    if (!source_.record(job.job, entry)) return;
    if (!failure) job.kept.remove();
    update_summary();
    // What is kept of each job lands between large freed blocks, which the allocator then never returns.
    if (++recorded_ % kTrimEvery == 0) malloc_trim(0);
    listener_.finished(entry, summary_);
    if (options_.max_failures > 0 && summary_.failed >= options_.max_failures)
      throw Error("stopped after " + std::to_string(summary_.failed) +
                      " failed jobs (--max-failures); the last: " + entry.error,
                  ExitCode::kPartlyDone);
  }

  WorkSource& source_;
  Renderer& renderer_;
  const BatchOptions& options_;
  const BatchListener& listener_;
  std::set<const BatchJob*> prepared_;
  double prepare_seconds_ = 0;
  std::map<std::string, BatchLimit> limits_;  // by shape; memory may have set them lower
  int64_t begun_ = 0, recorded_ = 0;
  Stopwatch watch_;
  std::mutex mutex_;  // of the source, the summary and the listener's finished()
  BatchSummary summary_;
  OutputThread output_;  // last: it is done before anything it uses goes
};

}  // namespace

BatchSummary render_jobs(WorkSource& source, const BatchSummary& before, Renderer& renderer,
                         const BatchOptions& options, const BatchListener& listener) {
  const c10::InferenceMode inference;
  return Batch(source, before, renderer, options, listener).run();
}

BatchSummary run_batch(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options,
                       const BatchListener& listener) {
  BatchRecord record(plan, options, listener.note);
  ListSource source(record.left(), record.manifest());
  return render_jobs(source, record.summary(), renderer, options, listener);
}

}  // namespace tessera
