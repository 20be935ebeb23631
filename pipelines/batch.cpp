#include "pipelines/batch.h"

#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <chrono>
#include <new>
#include <optional>

#include "core/cancel.h"
#include "core/error.h"
#include "pipelines/batch_folder.h"
#include "pipelines/batch_outputs.h"
#include "pipelines/disk_space.h"
#include "pipelines/output.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWindow = 256;  // jobs whose prompts are encoded together
constexpr int64_t kManifestRoom = 65536;
constexpr int64_t kTrimEvery = 16;  // jobs

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
  Batch(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options, const BatchListener& listener)
      : plan_(plan),
        renderer_(renderer),
        options_(options),
        listener_(listener),
        lock_(options.folder),
        manifest_(open_manifest()) {
    summary_.total = static_cast<int64_t>(plan.jobs.size());
  }

  BatchSummary run() {
    if (!options_.resume && !options_.overwrite) refuse_earlier_work(plan_, options_.folder, manifest_);
    remove_unfinished_files(options_.folder);
    if (manifest_.repaired()) listener_.note("cut off the torn last line of manifest.jsonl");
    if (manifest_.unreadable() > 0)
      listener_.note(std::to_string(manifest_.unreadable()) + " lines of manifest.jsonl cannot be read; passed over");
    find_pending();
    if (summary_.skipped > 0) listener_.note(std::to_string(summary_.skipped) + " jobs are done already");
    const auto source = options_.share ? options_.share(pending_) : std::make_unique<ListSource>(pending_);
    for (auto jobs = source->next(1); !jobs.empty(); jobs = source->next(1)) {
      for (const BatchJob* job : jobs) {
        prepare(*job);
        run_job(*job);
        source->recorded(*job);
      }
    }
    return summary_;
  }

 private:
  Manifest open_manifest() const {
    const fs::path path = options_.folder / "manifest.jsonl";
    std::error_code ignored;
    if (options_.overwrite) fs::remove(path, ignored);
    return Manifest(path);
  }

  void find_pending() {
    for (const BatchJob& job : plan_.jobs) {
      if (options_.resume && is_done(job, manifest_)) {
        KeptLatents(options_.folder, job).remove();
        ++summary_.skipped;
      } else {
        pending_.push_back(&job);
      }
    }
  }

  /// Encodes what the renderer is told of this job together with that of its neighbours in the plan.
  void prepare(const BatchJob& job) {
    const auto window_of = [&](const BatchJob* other) { return (other - plan_.jobs.data()) / kWindow; };
    const int64_t window = window_of(&job);
    if (window == prepared_) return;
    std::vector<const Job*> jobs;
    for (const BatchJob* other : pending_)
      if (window_of(other) == window) jobs.push_back(&other->job);
    const Stopwatch watch;
    renderer_.prepare(jobs, listener_.note);
    prepare_seconds_ = watch.seconds() / static_cast<double>(jobs.size());
    prepared_ = window;
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
    manifest_.append(entry);
    if (entry.status == "done") kept.remove();
    ++(entry.status == "done" ? summary_.done : summary_.failed);
    // What is kept of each job lands between large freed blocks, which the allocator then never returns.
    if ((summary_.done + summary_.failed) % kTrimEvery == 0) malloc_trim(0);
    listener_.finished(entry, summary_);
    if (options_.max_failures > 0 && summary_.failed >= options_.max_failures)
      throw Error("stopped after " + std::to_string(summary_.failed) +
                      " failed jobs (--max-failures); the last: " + entry.error,
                  ExitCode::kPartlyDone);
  }

  void render(const BatchJob& job, const KeptLatents& kept, ManifestEntry& entry) {
    const auto writer = open_output(job.job, 0);  // before the sampling: what cannot be written fails here
    at::Tensor latents;
    if (options_.resume) latents = kept.read();
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

  const BatchPlan& plan_;
  Renderer& renderer_;
  const BatchOptions& options_;
  const BatchListener& listener_;
  FolderLock lock_;
  Manifest manifest_;
  std::vector<const BatchJob*> pending_;
  int64_t prepared_ = -1;  // window of the plan
  double prepare_seconds_ = 0;
  BatchSummary summary_;
  Stopwatch watch_;
};

}  // namespace

BatchSummary run_batch(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options,
                       const BatchListener& listener) {
  const c10::InferenceMode inference;
  return Batch(plan, renderer, options, listener).run();
}

}  // namespace tessera
