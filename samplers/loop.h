#pragma once

#include <ATen/core/Tensor.h>

#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "samplers/guidance.h"
#include "samplers/sampler.h"
#include "samplers/step_cache.h"

namespace tessera {

/// One sample to be made.
struct SampleTask {
  std::shared_ptr<Sampler> sampler;  ///< with its own source of noise
  at::Tensor noise;                  ///< [B, C, ...] float32, unit noise; B is 1 for one sample
  GuidanceConfig guidance = {};
  at::Tensor positive, negative;  ///< [B, ...]; negative undefined without guidance
  double step_cache = 0;          ///< threshold, see StepCache
  /// After each call of a flow model, unless unset: how many calls are done, and the data that the guided prediction
  /// stands for, like the noise.
  std::function<void(int64_t done, const at::Tensor& data)> on_data = {};
};

struct SampleResult {
  at::Tensor sample;  ///< like the noise; undefined after a failure
  StepCacheReport step_cache;
  std::exception_ptr failure;  ///< what the task's own solver, guidance or network call threw, or numbers not finite
};

/// How many tasks one network call takes.
struct BatchLimit {
  size_t tasks = 1;
  /// Told when a call ran out of memory and `tasks` was halved for it and all later ones.
  std::function<void(const std::string&)> note = {};
};

/// Rows of one network call that belong to one task.
struct TaskRows {
  size_t task;
  int64_t first, count;
  double timestep = 0;  ///< that they are asked at, as the host knows it: reading it from a tensor waits for a GPU
};

/// Called while samples are made; each may be unset.
struct SampleCallbacks {
  /// After each round of network calls, in which every unfinished task has advanced by one call.
  std::function<void()> on_round = {};
  /// Before each network call: whose rows it has.
  std::function<void(std::span<const TaskRows>)> before_network_call = {};
  /// After each network call that succeeded: whose rows it had.
  std::function<void(std::span<const TaskRows>)> on_network_call = {};
  /// After each call of a task: how many of its calls are done, and its sample as it now is.
  std::function<void(size_t task, int64_t done, const at::Tensor& sample)> on_step = {};
};

/// The one denoising loop: from unit noise to the data, several samples in step, without gradients. Solver, guidance
/// and step cache are each task's own, and whatever they throw is that task's failure alone, as are predictions or
/// samples that are not finite (see FiniteCheck). Only the network calls are shared: their input has the rows of up to
/// `limit.tasks` tasks, whose x and condition must have one shape. A call that fails is made again with half as many
/// tasks, for later calls too when it ran out of memory; then a GPU's cache is emptied first. Before each round it
/// checks for cancellation and throws what throw_if_canceled does.
std::vector<SampleResult> sample_batch(std::vector<SampleTask>& tasks, const ConditionalModel& network,
                                       BatchLimit& limit, const SampleCallbacks& callbacks = {});

/// A batch of one: the sample. Throws its failure.
at::Tensor sample_one(SampleTask task, const ConditionalModel& network, const SampleCallbacks& callbacks = {});

/// Whether an exception says that memory ran out, on a CPU or another device.
bool is_out_of_memory(const std::exception_ptr& failure);

}  // namespace tessera
