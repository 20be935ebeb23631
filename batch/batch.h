#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "batch/manifest.h"
#include "batch/plan.h"
#include "batch/work_source.h"
#include "core/progress.h"
#include "core/ranks.h"
#include "media/frame_writer.h"

namespace tessera {

struct BatchOptions {
  std::filesystem::path folder;
  bool resume = false;         ///< skip the jobs that the manifest has as done
  bool overwrite = false;      ///< replace what an earlier run left
  int64_t max_failures = 0;    ///< stop after so many failed jobs; 0: never
  int64_t batch_size = 1;      ///< jobs of one shape that are denoised together
  bool deterministic = false;  ///< every job goes through the network by itself, whatever batch_size says
  ProgressStyle progress = ProgressStyle::kNone;
  /// The plan is this part of a larger one (see shard_of); other processes do the rest in the same folder at any time.
  /// Each has a record of its own, manifest.rankI.jsonl, and the last one to end merges them.
  std::optional<Shard> shard;
};

struct BatchSummary {
  int64_t total = 0, done = 0, skipped = 0, failed = 0;
};

/// Callbacks of a running batch.
struct BatchListener {
  std::function<void(const std::string&)> note;  ///< a line for the user
  /// After each job, with its manifest entry. May be called from another thread, one call at a time.
  std::function<void(const ManifestEntry&, const BatchSummary&)> finished;
  /// May wrap the writer of a job's output to see its frames; what it throws fails the job. Unset: none.
  std::function<std::unique_ptr<FrameWriter>(const BatchJob&, std::unique_ptr<FrameWriter>)> tap = {};
};

/// Renders a plan into options.folder, options.batch_size jobs at a time, and records each in manifest.jsonl there. A
/// second thread encodes, writes and records while the next jobs are denoised. The bytes of an output depend on nothing
/// but its job.
/// - A job is skipped when the manifest has it as done with the same hash and its files still have the recorded
/// SHA-256.
/// - The latents of a video are saved in `latents/` before it is decoded, and removed once it is recorded as done; a
///   job whose saved latents have its hash is decoded from them.
/// - A job that fails is recorded and the others continue; see BatchSummary::failed.
/// Throws Error: another program works in the folder, or it holds an earlier batch and neither resume nor overwrite
/// was asked for (2); a signal (130 or 143); the disk has no room for the next output or the manifest cannot be
/// written (1).
BatchSummary run_batch(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options,
                       const BatchListener& listener);

/// The rendering part of run_batch: renders what `source` hands out and records it there. `before` is the initial
/// summary.
BatchSummary render_jobs(WorkSource& source, const BatchSummary& before, Renderer& renderer,
                         const BatchOptions& options, const BatchListener& listener);

/// What a run would do.
struct BatchEstimate {
  int64_t total = 0, skipped = 0;
  int64_t bytes = 0;           ///< at most, of all outputs to render
  double denoise_seconds = 0;  ///< from the time of one step of each size
  double decode_seconds = 0;   ///< from one decoded and written output of each size
};

/// Looks at the manifest as run_batch would, times one step and one decoded output of each kind of job (of long clips
/// only the beginning), changes nothing in the output folder.
BatchEstimate estimate_batch(const BatchPlan& plan, Renderer& renderer, const BatchOptions& options);

}  // namespace tessera
