#pragma once

#include <cstdint>
#include <vector>

#include "batch/manifest.h"
#include "batch/plan.h"

namespace tessera {

/// Where a batch gets its jobs and records their outcomes. Each job is handed out to one process.
class WorkSource {
 public:
  virtual ~WorkSource() = default;
  /// The next jobs, at most `count`; none when there is nothing left to do. With `wait` it may wait for other processes
  /// (and for what this one has not recorded yet); without, it returns none in that case. Throws Error when the run was
  /// stopped.
  virtual std::vector<const BatchJob*> next(size_t count, bool wait) = 0;
  /// Jobs that are likely to come next, so that their prompts can be encoded together with those of next().
  virtual std::vector<const BatchJob*> ahead() const = 0;
  /// How many processes died while they rendered this job.
  virtual int deaths(const BatchJob& job) const = 0;
  /// Appends the entry to the record; false, and nothing is written, when another process has recorded the job
  /// meanwhile. Throws Error (failed) when it cannot be written.
  virtual bool record(const BatchJob& job, const ManifestEntry& entry) = 0;
  /// What all processes have recorded so far in this run.
  struct Counts {
    int64_t done = 0, failed = 0;
  };
  virtual Counts counts() = 0;
};

/// The jobs of a list in their order, for a process that works alone.
class ListSource : public WorkSource {
 public:
  ListSource(std::vector<const BatchJob*> jobs, Manifest& manifest) : jobs_(std::move(jobs)), manifest_(manifest) {}

  std::vector<const BatchJob*> next(size_t count, bool wait) override;
  std::vector<const BatchJob*> ahead() const override;
  int deaths(const BatchJob&) const override { return 0; }
  bool record(const BatchJob& job, const ManifestEntry& entry) override;
  Counts counts() override { return counts_; }

 private:
  std::vector<const BatchJob*> from(size_t start, size_t count) const;

  std::vector<const BatchJob*> jobs_;
  Manifest& manifest_;
  size_t at_ = 0;
  Counts counts_;
};

}  // namespace tessera
