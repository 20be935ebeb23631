#include "batch/live_scores.h"

#include <map>

#include "batch/manifest.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/text.h"
#include "pipelines/output.h"
#include "weights/safetensors.h"

namespace fs = std::filesystem;

namespace tessera {
namespace {

fs::path features_path(const fs::path& folder, const BatchJob& job) {
  constexpr size_t kLongest = 255 - std::string_view(".safetensors").size();  // bytes of a file name
  const bool too_long = fs::path(job.name).filename().string().size() > kLongest;
  return folder / "features" / ((too_long ? job.id : job.name) + ".safetensors");
}

std::map<std::string, std::string> made_by(const LiveFid& fid, const BatchJob& job) {
  auto metadata = fid.made_by();
  metadata["job"] = job.hash;
  return metadata;
}

/// The kept features of a job; undefined when there are none of this recipe and this network.
at::Tensor kept_features(const fs::path& path, const std::map<std::string, std::string>& made_by) {
  if (!fs::exists(path)) return {};
  const TensorFile file = read_safetensors(path);
  for (const auto& [key, value] : made_by) {
    const auto said = file.metadata().find(key);
    if (said == file.metadata().end() || said->second != value) return {};
  }
  return file.at("features");
}

}  // namespace

std::unique_ptr<FrameWriter> tap_job(const LiveFid& fid, const BatchJob& job, const fs::path& folder,
                                     std::unique_ptr<FrameWriter> writer) {
  return fid.tap(std::move(writer),
                 [path = features_path(folder, job), metadata = made_by(fid, job)](const at::Tensor& features) {
                   fs::create_directories(path.parent_path());
                   write_safetensors(path, {{"features", features}}, metadata);
                 });
}

FeatureStatistics collect_features(const LiveFid& fid, const BatchPlan& plan, const fs::path& folder,
                                   const std::function<void(const std::string&)>& note) {
  const Manifest manifest(manifest_path(folder), Manifest::Access::kRead);
  FeatureStatistics statistics(fid.dims());
  std::vector<ImageSource> files;
  int64_t without = 0;
  std::map<std::string, const BatchJob*> jobs;  // by id: one order, however the plan was arranged for rendering
  for (const BatchJob& job : plan.jobs) jobs[job.id] = &job;
  for (const auto& [id, job] : jobs) {
    throw_if_canceled();
    const ManifestEntry* entry = manifest.find(id);
    if (!entry || entry->status != "done" || entry->hash != job->hash) continue;
    const at::Tensor kept = kept_features(features_path(folder, *job), made_by(fid, *job));
    if (kept.defined()) {
      statistics.add(kept);
      continue;
    }
    if (job->samples().size() > 1)
      throw Error(job->name +
                  " is a tile that was rendered without --fid-reference, and its pictures cannot be told "
                  "apart again; render it again with --overwrite");
    ++without;
    for (const std::string& file : output_files(job->job))
      files.push_back({file, "", output_kind(job->job.output) == OutputKind::kVideo});
  }
  if (without == 0) return statistics;
  note(counted(without, "output was", "outputs were") +
       " rendered without --fid-reference: their pixels are read from their files, which for videos are pixels after "
       "compression");
  statistics.merge(fid.measure(files));
  return statistics;
}

}  // namespace tessera
