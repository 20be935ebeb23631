#include "batch/record.h"

#include "batch/outputs.h"
#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr auto kShardPatience = std::chrono::seconds(10);

fs::path begin_record(const BatchOptions& options) {
  std::error_code ignored;
  const fs::path own = options.shard ? shard_path(options.folder, options.shard->index) : manifest_path(options.folder);
  if (!options.overwrite) return own;
  fs::remove(own, ignored);
  if (!options.shard)
    for (const fs::path& shard : find_shards(options.folder)) fs::remove(shard, ignored);
  return own;
}

void merge_shards(Manifest& manifest, const BatchOptions& options, const BatchRecord::Note& note) {
  const std::vector<fs::path> shards = find_shards(options.folder);
  for (const fs::path& shard : shards)
    if (!manifest.merge(shard, kShardPatience))
      throw Error("a process of an earlier run is still using the folder " + options.folder.string() + " (it writes " +
                  shard.filename().string() + "); wait for it to end");
  if (!shards.empty())
    note("merged the records of " + counted(static_cast<int64_t>(shards.size()), "rank") + " of an interrupted run");
}

}  // namespace

fs::path run_file(const fs::path& folder) {
  return folder / ".tessera.run";
}

BatchRecord::BatchRecord(const BatchPlan& plan, const BatchOptions& options, const Note& note)
    : folder_(options.folder),
      is_shard_(options.shard.has_value()),
      lock_(options.folder, is_shard_ ? FolderLock::Kind::kShared : FolderLock::Kind::kSole) {
  manifest_.emplace(begin_record(options));
  if (is_shard_)
    take_shard(plan, options);
  else
    take_folder(plan, options, note);
  if (manifest_->repaired()) note("cut off the torn last line of the record");
  if (manifest_->unreadable() > 0)
    note(counted(manifest_->unreadable(), "line of the record cannot be read and is ignored",
                 "lines of the record cannot be read and are ignored"));
  find_left(plan, options);
  if (summary_.skipped > 0) note(counted(summary_.skipped, "job is done already", "jobs are done already"));
}

BatchRecord::~BatchRecord() {
  try {
    if (!is_shard_ || !lock_.become_sole()) return;
    manifest_.reset();
    remove_unfinished_files(folder_);
    Manifest whole(manifest_path(folder_));
    for (const fs::path& shard : find_shards(folder_)) whole.merge(shard, std::chrono::milliseconds(0));
  } catch (const std::exception&) {  // a run with --resume merges them
  }
}

void BatchRecord::take_folder(const BatchPlan& plan, const BatchOptions& options, const Note& note) {
  if (!options.resume && !options.overwrite) {
    if (const auto shards = find_shards(folder_); !shards.empty())
      throw Error("the folder " + folder_.string() + " holds an earlier batch (" + shards.front().filename().string() +
                  "); continue with --resume, replace it with --overwrite, or choose another --output");
    refuse_earlier_work(plan, folder_, *manifest_);
  }
  merge_shards(*manifest_, options, note);
  remove_unfinished_files(folder_);
  std::error_code ignored;
  fs::remove(run_file(folder_), ignored);
}

void BatchRecord::take_shard(const BatchPlan& plan, const BatchOptions& options) {
  if (!options.resume && !options.overwrite) refuse_earlier_work(plan, folder_, *manifest_);
  if (fs::exists(manifest_path(folder_))) whole_.emplace(manifest_path(folder_), Manifest::Access::kRead);
}

void BatchRecord::find_left(const BatchPlan& plan, const BatchOptions& options) {
  summary_.total = static_cast<int64_t>(plan.jobs.size());
  for (const BatchJob& job : plan.jobs) {
    if (options.resume && (is_done(job, *manifest_) || (whole_ && is_done(job, *whole_)))) {
      KeptLatents(folder_, job).remove();
      write_side_file(folder_, job);
      ++summary_.skipped;
    } else {
      left_.push_back(&job);
    }
  }
}

}  // namespace tessera
