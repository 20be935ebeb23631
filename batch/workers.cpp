#include "batch/workers.h"

#include <algorithm>
#include <thread>

#include "batch/ranks.h"
#include "batch/worker_processes.h"
#include "core/cancel.h"
#include "core/error.h"

namespace tessera {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(50);

/// Looks after the workers until all have ended; returns the worst of their exit codes.
int watch(WorkerProcesses& workers, BatchHost& host, Progress& progress, const BatchListener& listener) {
  int worst = 0, passed_on = 0;
  int64_t shown = 0;
  while (!workers.all_ended()) {
    std::this_thread::sleep_for(kPoll);
    if (const int signal = canceled(); signal != passed_on) workers.signal(passed_on = signal);
    for (const auto& [worker, process, exit_code] : workers.ended()) {
      if (exit_code == 0) continue;
      worst = std::max(worst, exit_code);
      report_dead_process(host.store(), process);
      if (exit_code > 128 && canceled() == 0)
        listener.note("worker " + std::to_string(worker) + " was ended by signal " + std::to_string(exit_code - 128) +
                      "; its jobs go to the others");
    }
    const WorkQueue::Counts counts = read_counts(host.store());
    progress.advance(counts.done + counts.failed - shown);
    shown = counts.done + counts.failed;
  }
  return worst;
}

}  // namespace

BatchSummary run_batch_workers(const BatchPlan& plan, const BatchOptions& options, const WorkerOptions& asked,
                               const BatchListener& listener) {
  SharedBatch shared;
  shared.lease = asked.lease;
  shared.ranks.launcher = "tessera";
  shared.ranks.size = asked.count;
  BatchHost host(plan, options, shared, listener.note);
  if (host.left().empty()) return host.summary();
  int worst = 0;
  {
    WorkerProcesses workers(asked.count, asked.variables);
    Progress progress(std::to_string(asked.count) + " workers, jobs", static_cast<int64_t>(host.left().size()),
                      options.progress);
    worst = watch(workers, host, progress, listener);
  }
  if (canceled() != 0)
    throw Error("stopped by a signal; " + std::to_string(host.summary().skipped + read_counts(host.store()).done) +
                    " of " + std::to_string(plan.jobs.size()) + " outputs are done; continue with --resume",
                static_cast<ExitCode>(128 + canceled()));
  if (host.all_done()) return host.finish();
  throw_if_stopped(host.store());
  throw Error("all " + std::to_string(asked.count) + " workers ended before the work was done; continue with --resume",
              worst > 128 ? ExitCode::kFailed : static_cast<ExitCode>(std::max(worst, 1)));
}

}  // namespace tessera
