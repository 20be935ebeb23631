#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "batch/manifest.h"
#include "batch/output_thread.h"
#include "batch/outputs.h"
#include "core/clock.h"
#include "media/frame_writer.h"

namespace tessera {

/// Why a job failed.
struct Failure {
  std::string text;
  bool bad_pixels = false;
};

/// Does work that belongs to one job and returns why it failed, if it did. Cancellation is rethrown: it is not the
/// job's failure.
std::optional<Failure> failure_of(const std::function<void()>& work);

/// A job of a batch from its start until it is recorded.
struct StartedJob {
  StartedJob(const std::filesystem::path& folder, const BatchJob& batch_job);

  const BatchJob& job;
  KeptLatents kept;
  ManifestEntry entry;  ///< its record to be
  std::unique_ptr<FrameWriter> writer;
  at::Tensor latents;
  double waited_seconds = 0;   ///< of the decoding thread, for frames to be written
  double written_seconds = 0;  ///< of the output thread
  /// Why its frames could not be written. The output thread fills it and then sets the flag.
  std::optional<Failure> write_failure;
  std::atomic<bool> write_failed = false;
};

/// Hands the frames of a job to its writer in the output thread.
class QueuedWriter : public FrameWriter {
 public:
  QueuedWriter(std::shared_ptr<StartedJob> job, OutputThread& thread) : job_(std::move(job)), thread_(thread) {}
  /// Throws Error when an earlier frame could not be written.
  void write(const at::Tensor& frame) override;
  void finish() override;

 private:
  void post(std::function<void(FrameWriter&)> work, int64_t bytes);

  std::shared_ptr<StartedJob> job_;
  OutputThread& thread_;
};

}  // namespace tessera
