#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "batch/batch.h"
#include "batch/record.h"
#include "batch/work_queue.h"
#include "core/ranks.h"

namespace tessera {

/// How several processes share a batch.
struct SharedBatch {
  Ranks ranks;
  /// The jobs of a process that misses heartbeats for this long go to others.
  std::chrono::milliseconds lease = std::chrono::seconds(60);
};

/// The one process of a run that holds the output folder and hosts the queue. The others find it through the file
/// `.tessera.run` in that folder, which holds its address and is removed with it.
class BatchHost {
 public:
  /// Throws what BatchRecord throws, and Error when the port is taken. From then on other processes may join.
  BatchHost(const BatchPlan& plan, const BatchOptions& options, const SharedBatch& shared,
            const BatchRecord::Note& note);
  /// Ends the run for everybody; records of the others that are not locked are merged.
  ~BatchHost();
  BatchHost(const BatchHost&) = delete;
  BatchHost& operator=(const BatchHost&) = delete;

  SharedStore& store() { return *store_; }
  const std::vector<const BatchJob*>& left() const { return record_.left(); }
  BatchSummary summary() const { return record_.summary(); }
  /// Whether every job is recorded, as done or as failed.
  bool all_done();
  /// Waits until all ranks have joined (at most the patience of the store) and have left or died, or until a signal:
  /// a rank that joins late, or finishes its job after the run was stopped, still learns how the run ended.
  void wait_for_ranks();
  /// Once all others have left or died: removes what the dead left unfinished, merges their records into
  /// manifest.jsonl and counts its entries.
  BatchSummary finish();

 private:
  void merge(std::chrono::milliseconds patience);

  std::filesystem::path folder_;
  SharedBatch shared_;
  BatchRecord::Note note_;
  BatchRecord record_;
  std::unique_ptr<SharedStore> store_;
};

/// run_batch as one of several processes that a launcher started (or `batch --workers`: launcher "tessera", whose ranks
/// all join a host that renders nothing). Rank 0 hosts, renders too, and returns the summary of the whole run; the
/// others wait for it and return the counts so far. Each writes its own record, manifest.rankN.jsonl.
/// Throws besides what run_batch throws: Error (usage) when this rank's plan is not that of rank 0; Error (failed) when
/// rank 0 is not found within ten minutes; StoreLost when it ended early or did not answer for five seconds or the
/// lease, whichever is longer; the current job is recorded before.
BatchSummary run_batch_rank(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options,
                            const SharedBatch& shared, const BatchListener& listener);

}  // namespace tessera
