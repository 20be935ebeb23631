#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "batch/batch.h"
#include "batch/folder.h"
#include "batch/manifest.h"
#include "batch/plan.h"

namespace tessera {

/// The file that says where the queue of a run of several processes is; see batch/ranks.h.
std::filesystem::path run_file(const std::filesystem::path& folder);

/// The output folder, owned by one process: locked, cleared of unfinished files, its record read and repaired, the
/// records that the processes of an interrupted run left merged into it. A process that does a
/// shard of the batch (BatchOptions::shard) shares the folder and has a record of its own.
class BatchRecord {
 public:
  using Note = std::function<void(const std::string&)>;  ///< takes a line for the user

  /// Throws Error when another program works in the folder, or when it holds an earlier batch and neither resume nor
  /// overwrite was asked for.
  BatchRecord(const BatchPlan& plan, const BatchOptions& options, const Note& note);
  /// The last of the shards' processes merges their records.
  ~BatchRecord();
  BatchRecord(const BatchRecord&) = delete;
  BatchRecord& operator=(const BatchRecord&) = delete;

  Manifest& manifest() { return *manifest_; }
  /// The jobs that are not done yet, in their order.
  const std::vector<const BatchJob*>& left() const { return left_; }
  /// Of a run that has not rendered anything yet.
  BatchSummary summary() const { return summary_; }

 private:
  void take_folder(const BatchPlan& plan, const BatchOptions& options, const Note& note);
  void take_shard(const BatchPlan& plan, const BatchOptions& options);
  void find_left(const BatchPlan& plan, const BatchOptions& options);

  std::filesystem::path folder_;
  bool is_shard_;
  FolderLock lock_;
  std::optional<Manifest> manifest_;
  std::optional<Manifest> whole_;  // the record of the whole batch as a shard found it
  std::vector<const BatchJob*> left_;
  BatchSummary summary_;
};

}  // namespace tessera
