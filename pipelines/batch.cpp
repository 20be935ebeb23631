#include "pipelines/batch.h"

#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <chrono>
#include <map>
#include <new>
#include <optional>

#include "core/cancel.h"
#include "core/error.h"
#include "core/sha256.h"
#include "pipelines/batch_folder.h"
#include "pipelines/batch_renderer.h"
#include "pipelines/disk_space.h"
#include "pipelines/output.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWindow = 256;  // jobs whose prompts are encoded together
constexpr int64_t kManifestRoom = 65536;
constexpr int64_t kTrimEvery = 16;  // jobs

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

fs::path latents_path(const fs::path& folder, const BatchJob& job) {
  return folder / "latents" / (job.id + ".safetensors");
}

std::string sha256_of_output(const Job& job) {
  Sha256 hash;
  for (const std::string& file : output_files(job, 0)) hash.update_file(file);
  return hash.hex();
}

bool is_done(const BatchJob& job, const Manifest& manifest) {
  const ManifestEntry* entry = manifest.find(job.id);
  if (!entry || entry->status != "done" || entry->hash != job.hash) return false;
  std::error_code failed;
  for (const std::string& file : output_files(job.job, 0))
    if (!fs::is_regular_file(file, failed)) return false;
  return sha256_of_output(job.job) == entry->sha256;
}

/// The latents that an interrupted or failed run kept for exactly this job; undefined when there are none.
at::Tensor saved_latents(const fs::path& path, const BatchJob& job) {
  std::error_code failed;
  if (!fs::exists(path, failed)) return {};
  const TensorFile file = read_safetensors(path);
  const auto hash = file.metadata().find("hash");
  const at::Tensor* latents = file.find("latents");
  if (!latents || hash == file.metadata().end() || hash->second != job.hash) return {};
  return latents->clone();
}

void remove_latents(const fs::path& folder, const BatchJob& job) {
  std::error_code ignored;
  fs::path path = latents_path(folder, job);
  if (!fs::remove(path, ignored)) return;
  // Folders that became empty go too, up to latents/ itself.
  for (path = path.parent_path(); path != folder && fs::remove(path, ignored); path = path.parent_path()) {
  }
}

void refuse_earlier_work(const BatchPlan& plan, const fs::path& folder, const Manifest& manifest) {
  const std::string advice = "; go on with --resume, begin anew with --overwrite, or choose another --output";
  if (!manifest.empty())
    throw Error("the folder " + folder.string() + " holds an earlier batch (manifest.jsonl)" + advice);
  std::error_code failed;
  for (const BatchJob& job : plan.jobs)
    if (const std::string file = output_files(job.job, 0).front(); fs::exists(file, failed))
      throw Error(file + " exists already" + advice);
}

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
  Batch(const BatchPlan& plan, const WanModel& model, const BatchOptions& options, const BatchListener& listener)
      : plan_(plan),
        options_(options),
        listener_(listener),
        lock_(options.folder),
        manifest_(open_manifest()),
        renderer_(model, plan.jobs.front().job) {
    summary_.total = static_cast<int64_t>(plan.jobs.size());
  }

  BatchSummary run() {
    if (!options_.resume && !options_.overwrite) refuse_earlier_work(plan_, options_.folder, manifest_);
    remove_unfinished_files(options_.folder);
    if (manifest_.repaired()) listener_.note("cut off the torn last line of manifest.jsonl");
    if (manifest_.unreadable() > 0)
      listener_.note(std::to_string(manifest_.unreadable()) + " lines of manifest.jsonl cannot be read; passed over");
    std::vector<const BatchJob*> pending;
    for (const BatchJob& job : plan_.jobs) {
      if (options_.resume && is_done(job, manifest_))
        skip(job);
      else
        pending.push_back(&job);
    }
    if (summary_.skipped > 0) listener_.note(std::to_string(summary_.skipped) + " jobs are done already");
    for (size_t start = 0; start < pending.size(); start += kWindow) {
      const auto window = std::span<const BatchJob* const>(pending).subspan(start);
      const auto jobs = window.first(std::min(kWindow, window.size()));
      const Stopwatch watch;
      renderer_.encode_texts(jobs, listener_.note);
      const double text_seconds = watch.seconds() / static_cast<double>(jobs.size());
      for (const BatchJob* job : jobs) run_job(*job, text_seconds);
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

  void skip(const BatchJob& job) {
    remove_latents(options_.folder, job);
    ++summary_.skipped;
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

  void run_job(const BatchJob& job, double text_seconds) {
    throw_if_cancelled();
    std::error_code ignored;
    fs::create_directories(fs::path(job.job.output).parent_path(), ignored);
    check_room(job);
    ManifestEntry entry{job.id, "done", job.hash, job.name, "", "", "", recipe_json(job.job), text_seconds, 0, 0};
    if (const auto failure = failure_of([&] { render(job, entry); })) {
      entry.status = failure->bad_pixels ? "bad_pixels" : "failed";
      entry.error = failure->text;
      const fs::path kept = latents_path(options_.folder, job);
      if (fs::exists(kept, ignored)) entry.latents = fs::relative(kept, options_.folder).string();
    }
    manifest_.append(entry);
    if (entry.status == "done") remove_latents(options_.folder, job);
    ++(entry.status == "done" ? summary_.done : summary_.failed);
    // What is kept of each job lands between large freed blocks, which the allocator then never returns.
    if ((summary_.done + summary_.failed) % kTrimEvery == 0) malloc_trim(0);
    listener_.finished(entry, summary_);
    if (options_.max_failures > 0 && summary_.failed >= options_.max_failures)
      throw Error("stopped after " + std::to_string(summary_.failed) +
                      " failed jobs (--max-failures); the last: " + entry.error,
                  ExitCode::kPartlyDone);
  }

  void render(const BatchJob& job, ManifestEntry& entry) {
    const fs::path kept = latents_path(options_.folder, job);
    const auto writer = open_output(job.job, 0);  // before the sampling: what cannot be written fails here
    at::Tensor latents;
    if (options_.resume) latents = saved_latents(kept, job);
    if (!latents.defined()) {
      const Stopwatch watch;
      latents = renderer_.denoise_job(job.job, label(), options_.progress);
      entry.denoise_seconds = watch.seconds();
      if (*job.job.frames > 1) save(kept, latents, job);
    }
    const Stopwatch watch;
    std::string problem;
    try {
      problem = renderer_.decode_job(job.job, latents, *writer, label(), options_.progress);
    } catch (...) {
      save(kept, latents, job);
      throw;
    }
    if (!problem.empty()) {
      save(kept, latents, job);
      throw Error(
          "the frames of " + job.name + " are " + problem + "; try --dtype fp32, another seed or a lower --cfg-scale",
          ExitCode::kBadPixels);
    }
    entry.sha256 = sha256_of_output(job.job);
    entry.decode_seconds = watch.seconds();
  }

  static void save(const fs::path& path, const at::Tensor& latents, const BatchJob& job) {
    if (fs::exists(path) && saved_latents(path, job).defined()) return;
    fs::create_directories(path.parent_path());
    save_latents(path.string(), latents, job.job, 0, job.hash);
  }

  const BatchPlan& plan_;
  const BatchOptions& options_;
  const BatchListener& listener_;
  FolderLock lock_;
  Manifest manifest_;
  BatchRenderer renderer_;
  BatchSummary summary_;
  Stopwatch watch_;
};

}  // namespace

BatchSummary run_batch(const BatchPlan& plan, const WanModel& model, const BatchOptions& options,
                       const BatchListener& listener) {
  const c10::InferenceMode inference;
  return Batch(plan, model, options, listener).run();
}

BatchEstimate estimate_batch(const BatchPlan& plan, const WanModel& model, const BatchOptions& options) {
  const c10::InferenceMode inference;
  BatchEstimate estimate;
  estimate.total = static_cast<int64_t>(plan.jobs.size());
  std::error_code failed;
  std::optional<Manifest> manifest;
  const fs::path path = options.folder / "manifest.jsonl";
  if (options.resume && fs::exists(path, failed)) manifest.emplace(path);
  BatchRenderer renderer(model, plan.jobs.front().job);
  std::map<std::vector<int64_t>, double> seconds;  // width, height, frames, guidance, text length -> of one call
  for (const BatchJob& job : plan.jobs) {
    if (manifest && is_done(job, *manifest)) {
      ++estimate.skipped;
      continue;
    }
    const Job& wanted = job.job;
    estimate.bytes += largest_output_bytes(wanted);
    const auto [found, fresh] = seconds.try_emplace(
        {*wanted.width, *wanted.height, *wanted.frames, *wanted.cfg_scale > 1, *wanted.max_sequence_length});
    if (fresh) {
      const BatchJob* one = &job;
      renderer.encode_texts({&one, 1}, [](const std::string&) {});
      found->second = renderer.seconds_per_call(wanted);
    }
    estimate.denoise_seconds += found->second * static_cast<double>(sampler_of(wanted, model)->calls());
  }
  return estimate;
}

}  // namespace tessera
