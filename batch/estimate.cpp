#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>

#include "batch/batch.h"
#include "batch/outputs.h"
#include "core/paths.h"

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
