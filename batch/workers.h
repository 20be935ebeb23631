#pragma once

#include <chrono>

#include "batch/batch.h"

namespace tessera {

/// run_batch by `count` processes of this machine, started with this process's own command line (see
/// batch/worker_processes.h), while this one keeps the folder and the queue and renders nothing. A worker that dies has
/// its jobs done by the others. Throws what run_batch throws, and Error when all workers ended before the work was
/// done, with the worst of their exit codes (1 for a signal).
BatchSummary run_batch_workers(const BatchPlan& plan, const BatchOptions& options, int count,
                               std::chrono::milliseconds lease, const BatchListener& listener);

}  // namespace tessera
