#include "pipelines/batch_record.h"

#include "core/error.h"
#include "pipelines/batch_outputs.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr auto kShardPatience = std::chrono::seconds(10);

fs::path begin_record(const BatchOptions& options) {
  std::error_code ignored;
  if (options.overwrite) {
    fs::remove(manifest_path(options.folder), ignored);
    for (const fs::path& shard : find_shards(options.folder)) fs::remove(shard, ignored);
  }
  return manifest_path(options.folder);
}

void merge_shards(Manifest& manifest, const BatchOptions& options, const BatchRecord::Note& note) {
  const std::vector<fs::path> shards = find_shards(options.folder);
  for (const fs::path& shard : shards)
    if (!manifest.merge(shard, kShardPatience))
      throw Error("a process of an earlier run still works in the folder " + options.folder.string() + " (it writes " +
                  shard.filename().string() + "); wait for it to end");
  if (!shards.empty()) note("merged the records of " + std::to_string(shards.size()) + " ranks of an interrupted run");
}

}  // namespace

BatchRecord::BatchRecord(const BatchPlan& plan, const BatchOptions& options, const Note& note)
    : lock_(options.folder), manifest_(begin_record(options)) {
  if (options.resume)
    merge_shards(manifest_, options, note);
  else if (!options.overwrite)
    refuse_earlier_work(plan, options.folder, manifest_);
  remove_unfinished_files(options.folder);
  if (manifest_.repaired()) note("cut off the torn last line of manifest.jsonl");
  if (manifest_.unreadable() > 0)
    note(std::to_string(manifest_.unreadable()) + " lines of manifest.jsonl cannot be read; passed over");
  summary_.total = static_cast<int64_t>(plan.jobs.size());
  for (const BatchJob& job : plan.jobs) {
    if (options.resume && is_done(job, manifest_)) {
      KeptLatents(options.folder, job).remove();
      ++summary_.skipped;
    } else {
      left_.push_back(&job);
    }
  }
  if (summary_.skipped > 0) note(std::to_string(summary_.skipped) + " jobs are done already");
}

}  // namespace tessera
