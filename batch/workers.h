#pragma once

#include <chrono>

#include "batch/batch.h"
#include "core/ranks.h"

namespace tessera {

struct WorkerOptions {
  int count = 1;
  std::chrono::milliseconds lease = std::chrono::seconds(60);  ///< see SharedBatch
  Variables variables;                                         ///< added to their environment
};

/// run_batch by several processes of this machine, started with this process's own command line (see
/// batch/worker_processes.h), while this one keeps the folder and the queue and renders nothing. The jobs of a worker
/// that dies go to the others. Throws what run_batch throws, and Error when all workers ended before the work was done,
/// with the worst of their exit codes (1 for a signal).
BatchSummary run_batch_workers(const BatchPlan& plan, const BatchOptions& options, const WorkerOptions& asked,
                               const BatchListener& listener);

}  // namespace tessera
