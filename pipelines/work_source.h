#pragma once

#include <span>
#include <vector>

#include "pipelines/batch_plan.h"

namespace tessera {

/// Where a batch gets its jobs from: the jobs that are left to do, of which each is handed out to one program.
class WorkSource {
 public:
  virtual ~WorkSource() = default;
  /// The next jobs, at most `count`; none when there is nothing left to do. May wait for other programs.
  virtual std::vector<const BatchJob*> next(size_t count) = 0;
  /// The job's line is in the manifest, as done or as failed: it is not handed out again.
  virtual void recorded(const BatchJob& job) = 0;
};

/// The jobs of a list in their order, for a program that works alone.
class ListSource : public WorkSource {
 public:
  explicit ListSource(std::vector<const BatchJob*> jobs) : jobs_(std::move(jobs)) {}

  std::vector<const BatchJob*> next(size_t count) override {
    const auto taken = std::span<const BatchJob* const>(jobs_).subspan(at_, std::min(count, jobs_.size() - at_));
    at_ += taken.size();
    return {taken.begin(), taken.end()};
  }
  void recorded(const BatchJob&) override {}

 private:
  std::vector<const BatchJob*> jobs_;
  size_t at_ = 0;
};

}  // namespace tessera
