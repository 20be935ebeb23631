#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "pipelines/batch.h"
#include "pipelines/batch_folder.h"
#include "pipelines/batch_plan.h"
#include "pipelines/manifest.h"

namespace tessera {

/// The output folder in the hands of the process that answers for it: locked, cleared of unfinished files, its record
/// read and repaired, the shards that the processes of an interrupted run left merged into it.
class BatchRecord {
 public:
  using Note = std::function<void(const std::string&)>;  ///< takes a line for the user

  /// Throws Error when another program works in the folder, or when it holds an earlier batch and neither resume nor
  /// overwrite was asked for.
  BatchRecord(const BatchPlan& plan, const BatchOptions& options, const Note& note);

  Manifest& manifest() { return manifest_; }
  /// The jobs that are not done yet, in their order.
  const std::vector<const BatchJob*>& left() const { return left_; }
  /// Of a run that has not rendered anything yet.
  BatchSummary summary() const { return summary_; }

 private:
  FolderLock lock_;
  Manifest manifest_;
  std::vector<const BatchJob*> left_;
  BatchSummary summary_;
};

}  // namespace tessera
