#include "pipelines/batch.h"

#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <optional>
#include <set>

#include "core/cancel.h"
#include "core/error.h"
#include "pipelines/batch_outputs.h"
#include "pipelines/batch_record.h"
#include "pipelines/disk_space.h"
#include "pipelines/output.h"
#include "pipelines/work_source.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kManifestRoom = 65536;
constexpr int64_t kTrimEvery = 16;  // jobs
constexpr int kMostDeaths = 2;      // processes that may die over a job before it is given up

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// What a failed job says of itself; rethrows what is no failure of the job alone: a stop by signal.
struct Failure {
  std::string text;
  bool bad_pixels = false;
};

template <class Work>
std::optional<Failure> failure_of(const Work& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    if (static_cast<int>(error.code()) >= 128) throw;
    return Failure{error.what(), error.code() == ExitCode::kBadPixels};
  } catch (const c10::Error& error) {
    return Failure{error.what_without_backtrace()};
  } catch (const std::bad_alloc&) {
    return Failure{"out of memory; try a smaller size or fewer frames"};
  } catch (const std::exception& error) {
    return Failure{error.what()};
  }
}

/// A batch on its way.
class Batch {
 public:
  Batch(WorkSource& source, const BatchSummary& before, Renderer& renderer, const BatchOptions& options,
        const BatchListener& listener)
      : source_(source), renderer_(renderer), options_(options), listener_(listener), summary_(before) {}

  BatchSummary run() {
    for (auto jobs = source_.next(1); !jobs.empty(); jobs = source_.next(1)) {
      prepare(jobs);
      for (const BatchJob* job : jobs) run_job(*job);
    }
    update_summary();
    return summary_;
  }

 private:
  /// Encodes what the renderer is told of these jobs together with that of the next ones.
  void prepare(const std::vector<const BatchJob*>& jobs) {
    const auto is_prepared = [&](const BatchJob* job) { return prepared_.count(job) > 0; };
    if (std::all_of(jobs.begin(), jobs.end(), is_prepared)) return;
    std::vector<const BatchJob*> together = jobs;
    for (const BatchJob* job : source_.ahead()) together.push_back(job);
    std::vector<const Job*> wanted;
    for (const BatchJob* job : together) wanted.push_back(&job->job);
    const Stopwatch watch;
    renderer_.prepare(wanted, listener_.note);
    prepare_seconds_ = watch.seconds() / static_cast<double>(wanted.size());
    prepared_ = {together.begin(), together.end()};
  }

  void update_summary() {
    const WorkSource::Counts counts = source_.counts();
    summary_.done = counts.done;
    summary_.failed = counts.failed;
  }

  std::string label() const {
    const int64_t at = summary_.done + summary_.failed;
    std::string text = "[" + std::to_string(at + summary_.skipped + 1) + "/" + std::to_string(summary_.total);
    if (at > 0) {
      const auto left = static_cast<double>(summary_.total - summary_.skipped - at);
      text += ", " + clock_text(watch_.seconds() / static_cast<double>(at) * left) + " left";
    }
    return text + "] ";
  }

  void check_room(const BatchJob& job) const {
    try {
      check_free_space(job.job.output, largest_output_bytes(job.job) + kManifestRoom);
    } catch (const Error& error) {
      throw Error(std::string(error.what()) + "; then run again with --resume", ExitCode::kFailed);
    }
  }

  void run_job(const BatchJob& job) {
    throw_if_cancelled();
    std::error_code ignored;
    fs::create_directories(fs::path(job.job.output).parent_path(), ignored);
    check_room(job);
    const KeptLatents kept(options_.folder, job);
    ManifestEntry entry{job.id, "done", job.hash, job.name, "", "", "", recipe_json(job.job), prepare_seconds_, 0, 0};
    if (const auto failure = failure_of([&] { render(job, kept, entry); })) {
      entry.status = failure->bad_pixels ? "bad_pixels" : "failed";
      entry.error = failure->text;
      entry.latents = kept.name();
    }
    if (!source_.record(job, entry)) return;
    if (entry.status == "done") kept.remove();
    update_summary();
    // What is kept of each job lands between large freed blocks, which the allocator then never returns.
    if (++recorded_ % kTrimEvery == 0) malloc_trim(0);
    listener_.finished(entry, summary_);
    if (options_.max_failures > 0 && summary_.failed >= options_.max_failures)
      throw Error("stopped after " + std::to_string(summary_.failed) +
                      " failed jobs (--max-failures); the last: " + entry.error,
                  ExitCode::kPartlyDone);
  }

  void render(const BatchJob& job, const KeptLatents& kept, ManifestEntry& entry) {
    const int deaths = source_.deaths(job);
    if (deaths >= kMostDeaths)
      throw Error(std::to_string(deaths) + " processes died while they rendered this; it was not tried again",
                  ExitCode::kFailed);
    const auto writer = open_output(job.job, 0);  // before the sampling: what cannot be written fails here
    at::Tensor latents;
    if (options_.resume || deaths > 0) latents = kept.read();
    if (!latents.defined()) {
      const Stopwatch watch;
      const Job* const one[] = {&job.job};
      Progress progress(label() + "denoising", renderer_.calls(job.job), options_.progress);
      TogetherLimit alone;
      const SampleResult result = std::move(renderer_.denoise(one, alone, progress).front());
      if (result.failure) std::rethrow_exception(result.failure);
      latents = result.sample;
      entry.denoise_seconds = watch.seconds();
      if (*job.job.frames > 1) kept.save(latents);
    }
    const Stopwatch watch;
    std::string problem;
    try {
      Progress progress(label() + "decoding", *job.job.frames, options_.progress);
      problem = renderer_.decode(job.job, latents, *writer, progress);
    } catch (...) {
      kept.save(latents);
      throw;
    }
    if (!problem.empty()) {
      kept.save(latents);
      throw Error(
          "the frames of " + job.name + " are " + problem + "; try --dtype fp32, another seed or a lower --cfg-scale",
          ExitCode::kBadPixels);
    }
    entry.sha256 = sha256_of_output(job.job);
    entry.decode_seconds = watch.seconds();
  }

  WorkSource& source_;
  Renderer& renderer_;
  const BatchOptions& options_;
  const BatchListener& listener_;
  std::set<const BatchJob*> prepared_;
  double prepare_seconds_ = 0;
  BatchSummary summary_;
  int64_t recorded_ = 0;
  Stopwatch watch_;
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
