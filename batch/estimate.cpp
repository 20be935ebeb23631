#include <c10/core/InferenceMode.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <limits>
#include <map>

#include "batch/batch.h"
#include "batch/outputs.h"
#include "core/atomic_file.h"
#include "core/clock.h"
#include "core/paths.h"
#include "pipelines/output.h"

namespace tessera {
namespace {

/// The records that a run with these options would take its finished jobs from, in the order in which it merges them.
std::deque<Manifest> read_records(const BatchOptions& options) {
  std::deque<Manifest> records;
  if (!options.resume || !is_folder(options.folder)) return records;
  std::vector<std::filesystem::path> paths = {manifest_path(options.folder)};
  const auto shards =
      options.shard ? std::vector{shard_path(options.folder, options.shard->index)} : find_shards(options.folder);
  paths.insert(paths.end(), shards.begin(), shards.end());
  for (const std::filesystem::path& path : paths)
    if (is_file(path)) records.emplace_back(path, Manifest::Access::kRead);
  return records;
}

/// The last record that knows the job counts.
bool is_done(const BatchJob& job, const std::deque<Manifest>& records) {
  const auto knows = [&](const Manifest& record) { return record.find(job.id) != nullptr; };
  const auto found = std::find_if(records.rbegin(), records.rend(), knows);
  return found != records.rend() && is_done(job, *found);
}

/// A folder for trial outputs, gone at the end.
class TrialFolder {
 public:
  TrialFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tessera_trial_XXXXXX").string();
    if (!mkdtemp(name.data())) throw write_error(name, errno);
    path_ = name;
  }
  ~TrialFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TrialFolder(const TrialFolder&) = delete;
  TrialFolder& operator=(const TrialFolder&) = delete;

  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

at::Tensor denoise_silently(Renderer& renderer, const Job& job) {
  Progress silent("", renderer.calls(job), ProgressStyle::kNone);
  return denoise_alone(renderer, {.job = &job}, silent).latents;
}

/// Seconds of decoding and writing the first `frames` frames.
double time_decoding(Renderer& renderer, Job job, int64_t frames, const TrialFolder& folder) {
  job.frames = frames;
  job.latents.clear();
  const bool pictures = output_kind(job.output) == OutputKind::kFrames;
  job.output = folder / (pictures ? "%04d.png" : "trial" + std::filesystem::path(job.output).extension().string());
  const Job* const jobs[] = {&job};
  renderer.prepare(jobs, [](const std::string&) {});  // pictures are encoded for a number of frames
  const at::Tensor latents = denoise_silently(renderer, job);
  double seconds = 0;
  for (int round = 0; round < 2; ++round) {  // the first one also warms up
    const Stopwatch watch;
    Progress silent("", frames, ProgressStyle::kNone);
    const auto writer = open_output(job);
    renderer.decode(job, latents, *writer, silent);
    seconds = watch.seconds();
  }
  return seconds;
}

/// Seconds that a prepared job takes, measured.
struct Timing {
  double call = 0;    ///< of the network
  double decode = 0;  ///< all frames decoded and written; from the first frames where there are more than 17
};

Timing time_job(Renderer& renderer, const Job& job) {
  constexpr int64_t kMostFrames = 17, kSomeFrames = 9;
  Job once = job;
  once.steps = 1;
  once.sigmas.reset();
  once.timesteps.reset();
  once.timestep_respacing.reset();
  once.step_cache.reset();
  denoise_silently(renderer, once);  // warms up
  const Stopwatch watch;
  denoise_silently(renderer, once);
  Timing timing{watch.seconds() / static_cast<double>(renderer.calls(once)), 0};
  const TrialFolder folder;
  if (*job.frames <= kMostFrames) {
    timing.decode = time_decoding(renderer, once, *job.frames, folder);
  } else {
    const double first = time_decoding(renderer, once, 1, folder);
    const double some = time_decoding(renderer, once, kSomeFrames, folder);
    timing.decode = first + std::max(0.0, some - first) * static_cast<double>(*job.frames - 1) / (kSomeFrames - 1);
  }
  return timing;
}

}  // namespace

BatchEstimate estimate_batch(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options) {
  const c10::InferenceMode inference;
  BatchEstimate estimate;
  estimate.total = static_cast<int64_t>(plan.jobs.size());
  const std::deque<Manifest> records = read_records(options);
  std::map<std::pair<std::string, bool>, Timing> timings;  // shape, guidance
  for (const BatchJob& job : plan.jobs) {
    if (is_done(job, records)) {
      ++estimate.skipped;
      continue;
    }
    if (__builtin_add_overflow(estimate.bytes, most_bytes(job), &estimate.bytes))
      estimate.bytes = std::numeric_limits<int64_t>::max();
    const auto [found, fresh] = timings.try_emplace({renderer.shape(job.job), *job.job.cfg_scale > 1});
    if (fresh) {
      const Job* const one[] = {&job.job};
      renderer.prepare(one, [](const std::string&) {});
      found->second = time_job(renderer, job.job);
    }
    const auto samples = static_cast<double>(job.samples().size());
    estimate.denoise_seconds += samples * found->second.call * static_cast<double>(renderer.calls(job.job));
    estimate.decode_seconds += samples * found->second.decode;
  }
  return estimate;
}

}  // namespace tessera
