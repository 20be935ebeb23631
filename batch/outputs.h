#pragma once

#include <filesystem>

#include "batch/manifest.h"
#include "batch/plan.h"

namespace tessera {

/// SHA-256 of a job's files, one after another. Throws Error when one cannot be read.
std::string sha256_of_output(const Job& job);

/// True when the manifest has the job as done with the same hash and its files still have the recorded SHA-256.
bool is_done(const BatchJob& job, const Manifest& manifest);

/// The most that a job's output should take on a disk.
int64_t most_bytes(const BatchJob& job);

/// Writes the job's side file unless it is there as it should be; several jobs and processes may share one.
void write_side_file(const std::filesystem::path& folder, const BatchJob& job);

/// Throws Error (usage) when the folder holds outputs of an earlier batch.
void refuse_earlier_work(const BatchPlan& plan, const std::filesystem::path& folder, const Manifest& manifest);

/// Throws Error when the folder holds a file that the layout's evaluator would score and that is no output of the plan.
void refuse_strangers(const Layout& layout, const BatchPlan& plan, const std::filesystem::path& folder);

/// The latents of a job that stay in the output folder until it is done: `latents/ID.safetensors`.
class KeptLatents {
 public:
  KeptLatents(const std::filesystem::path& folder, const BatchJob& job);

  /// What an interrupted or failed run kept for exactly this job (its hash); undefined when there is nothing.
  at::Tensor read() const;
  /// Keeps `latents` unless the same are kept already.
  void save(const at::Tensor& latents) const;
  /// Removes the file, and the folders that become empty.
  void remove() const;
  /// The file's name relative to the output folder; "" when there is none.
  std::string name() const;

 private:
  std::filesystem::path folder_, path_;
  const BatchJob& job_;
};

}  // namespace tessera
