#pragma once

#include <ATen/core/Tensor.h>

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "samplers/guidance.h"
#include "samplers/sampler.h"
#include "samplers/step_cache.h"

namespace tessera {

/// One sample to be made.
struct SampleTask {
  std::unique_ptr<Sampler> sampler;  ///< with its own source of noise
  at::Tensor noise;                  ///< [1, C, ...] float32
  GuidanceConfig guidance;
  at::Tensor positive, negative;  ///< [1, ...]; negative undefined without guidance
  double step_cache = 0;          ///< threshold, see StepCache
};

struct SampleResult {
  at::Tensor sample;  ///< [1, C, ...] float32; undefined after a failure
  StepCacheReport step_cache;
  std::exception_ptr failure;  ///< of the network asked for this task alone, or the Error of Trajectory::advance
};

/// How many tasks one call of the network takes.
struct TogetherLimit {
  size_t tasks = 1;
  /// Told when a call ran out of memory and `tasks` was halved for it and all later ones.
  std::function<void(const std::string&)> note;
};

/// Makes several samples in step. Solver, guidance and step cache are each task's own, and so are their failures; only
/// the calls of the network are shared: its input has the rows of up to `limit.tasks` tasks, whose x and condition must
/// have one shape. A call that fails is made again with half as many, for later calls too when it ran out of memory.
/// `on_call` is told after each round of calls. Before each round it checks for a requested stop and throws what
/// throw_if_canceled does.
std::vector<SampleResult> sample_together(std::vector<SampleTask>& tasks, const ConditionalModel& network,
                                          TogetherLimit& limit, const std::function<void()>& on_call);

/// Whether an exception says that memory ran out, on a CPU or another device.
bool is_out_of_memory(const std::exception_ptr& failure);

}  // namespace tessera
