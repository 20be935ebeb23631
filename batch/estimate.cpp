#include <c10/core/InferenceMode.h>

#include <map>
#include <optional>

#include "batch/batch.h"
#include "batch/outputs.h"
#include "core/disk_space.h"
#include "pipelines/output.h"

namespace tessera {

BatchEstimate estimate_batch(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options) {
  const c10::InferenceMode inference;
  BatchEstimate estimate;
  estimate.total = static_cast<int64_t>(plan.jobs.size());
  std::error_code failed;
  std::optional<Manifest> manifest;
  const std::filesystem::path path = options.folder / "manifest.jsonl";
  if (options.resume && std::filesystem::exists(path, failed)) manifest.emplace(path, Manifest::Access::kRead);
  std::map<std::pair<std::string, bool>, Timing> timings;  // shape, guidance
  for (const BatchJob& job : plan.jobs) {
    if (manifest && is_done(job, *manifest)) {
      ++estimate.skipped;
      continue;
    }
    estimate.bytes += largest_output_bytes(job.job);
    const auto [found, fresh] = timings.try_emplace({renderer.shape(job.job), *job.job.cfg_scale > 1});
    if (fresh) {
      const Job* const one[] = {&job.job};
      renderer.prepare(one, [](const std::string&) {});
      found->second = time_job(renderer, job.job);
    }
    estimate.denoise_seconds += found->second.call * static_cast<double>(renderer.calls(job.job));
    estimate.decode_seconds += found->second.decode;
  }
  return estimate;
}

}  // namespace tessera
