#include "samplers/loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/cancel.h"
#include "core/error.h"
#include "core/memory_cache.h"
#include "core/out_of_memory.h"
#include "core/profile.h"
#include "core/transfer.h"
#include "samplers/finite_check.h"

namespace tessera {
namespace {

/// What `work` threw, null when nothing. Cancellation is rethrown.
std::exception_ptr failure_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& failure) {
    if (failure.is_cancellation()) throw;
    return std::current_exception();
  } catch (const std::exception&) {
    return std::current_exception();
  }
}

/// A task on its way from noise to data, one network call at a time.
class Trajectory {
 public:
  Trajectory(const SampleTask& task, size_t index, const SampleCallbacks& callbacks)
      : index_(index),
        sampler_(*task.sampler),
        callbacks_(callbacks),
        on_data_(task.on_data),
        low_below_(task.guidance.low_below) {
    own([&] {
      cache_ = StepCache(task.step_cache);
      guidance_.emplace(task.guidance, task.positive, task.negative);
      sample_ = task.noise.to(at::kFloat) * sampler_.schedule().init_noise_sigma;
    });
  }

  size_t index() const { return index_; }
  bool live() const { return !failure_ && call_ < sampler_.calls(); }
  double timestep() const { return sampler_.schedule().timesteps[static_cast<size_t>(call_)]; }
  /// What the network is asked next; see needs_network.
  const NetworkInput& input() const { return input_; }

  /// Advances without the network where that is possible; otherwise input() says what to ask it.
  bool needs_network() {
    bool needs = false;
    own([&] {
      const ProfileScope scope("guidance");
      const at::Tensor x = sampler_.scale_input(sample_, call_);
      input_ = guidance_->ask(x, timestep(), call_, sampler_.calls());
      if (!input_.x.defined()) return advance(at::zeros_like(x));
      const bool low = timestep() < low_below_;  // where a model with two networks asks the second one
      if (low != std::exchange(low_, low)) cache_.forget();
      const at::Tensor kept = cache_.recall(input_.x);
      if (kept.defined()) return advance(guidance_->answer(kept));
      needs = true;
    });
    return needs;
  }

  /// Takes the network's output for input().
  void take(const at::Tensor& output) {
    own([&] {
      at::Tensor prediction;
      {
        const ProfileScope scope("guidance");
        cache_.keep(input_.x, output);
        input_ = {};
        prediction = guidance_->answer(output);
      }
      advance(prediction);
    });
  }

  void fail(const std::exception_ptr& failure) { failure_ = failure; }

  SampleResult result() {
    if (!failure_) own([&] { finite_.finish(sampler_); });
    return {failure_ ? at::Tensor() : sample_, cache_.report(), failure_};
  }

 private:
  void own(const std::function<void()>& work) {
    if (const std::exception_ptr failure = failure_of(work)) failure_ = failure;
  }

  void advance(const at::Tensor& prediction) {
    const ProfileScope scope("sampler");
    finite_.prediction(prediction, call_, sampler_);
    if (on_data_) on_data_(call_ + 1, sample_ - sampler_.schedule().sigmas[static_cast<size_t>(call_)] * prediction);
    sample_ = sampler_.step(prediction, sample_, call_);
    finite_.sample(sample_, call_, sampler_);
    ++call_;
    if (callbacks_.on_step) callbacks_.on_step(index_, call_, sample_);
  }

  size_t index_;
  Sampler& sampler_;
  const SampleCallbacks& callbacks_;
  const std::function<void(int64_t, const at::Tensor&)>& on_data_;
  double low_below_;
  bool low_ = false;
  std::optional<Guidance> guidance_;
  StepCache cache_{0};
  NetworkInput input_;
  at::Tensor sample_;
  FiniteCheck finite_;
  int64_t call_ = 0;  // done so far
  std::exception_ptr failure_;
};

at::Tensor joined_rows(std::span<Trajectory* const> asking, at::Tensor NetworkInput::*part) {
  if (asking.size() == 1) return asking.front()->input().*part;
  std::vector<at::Tensor> rows;
  for (const Trajectory* trajectory : asking) rows.push_back(trajectory->input().*part);
  return at::cat(rows);
}

std::vector<TaskRows> rows_of(std::span<Trajectory* const> asking) {
  std::vector<TaskRows> rows;
  int64_t row = 0;
  for (const Trajectory* trajectory : asking) {
    rows.push_back({.task = trajectory->index(),
                    .first = row,
                    .count = trajectory->input().x.size(0),
                    .timestep = trajectory->timestep()});
    row += rows.back().count;
  }
  return rows;
}

void hand_out(const at::Tensor& output, std::span<Trajectory* const> asking, const std::vector<TaskRows>& rows,
              const SampleCallbacks& callbacks) {
  const int64_t all = rows.back().first + rows.back().count;
  TORCH_CHECK(all == output.size(0), "sample_batch: the network made ", output.size(0), " predictions of ", all);
  if (callbacks.on_network_call) callbacks.on_network_call(rows);
  for (size_t i = 0; i < asking.size(); ++i) asking[i]->take(output.narrow(0, rows[i].first, rows[i].count));
}

/// A call that fails is made again with half of the tasks, down to the one that it fails for.
void ask_network(const ConditionalModel& network, std::span<Trajectory* const> asking, BatchLimit& limit,
                 const SampleCallbacks& callbacks) {
  size_t most = limit.tasks;
  while (!asking.empty()) {
    const auto some = asking.first(std::min(most, asking.size()));
    const std::vector<TaskRows> rows = rows_of(some);
    at::Tensor output;
    const std::exception_ptr failure = failure_of([&] {
      if (callbacks.before_network_call) callbacks.before_network_call(rows);
      output = network(joined_rows(some, &NetworkInput::x), joined_rows(some, &NetworkInput::timesteps),
                       joined_rows(some, &NetworkInput::condition));
    });
    const bool memory = failure && is_out_of_memory(failure);
    if (memory) empty_cache(some.front()->input().x.device());
    if (failure && some.size() > 1) {
      most = some.size() / 2;
      if (!memory) continue;
      limit.tasks = most;
      if (limit.note)
        limit.note("out of memory with " + std::to_string(some.size()) + " jobs in a batch; continuing with " +
                   std::to_string(most));
      continue;
    }
    if (failure)
      some.front()->fail(failure);
    else
      hand_out(output, some, rows, callbacks);
    asking = asking.subspan(some.size());
  }
}

}  // namespace

std::vector<SampleResult> sample_batch(std::vector<SampleTask>& tasks, const ConditionalModel& network,
                                       BatchLimit& limit, const SampleCallbacks& callbacks) {
  TORCH_CHECK(limit.tasks >= 1, "sample_batch: a call needs at least one task");
  const c10::NoGradGuard no_gradients;
  const KeptMemory kept;  // every call has the sizes of the one before
  std::vector<Trajectory> trajectories;
  trajectories.reserve(tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) trajectories.emplace_back(tasks[i], i, callbacks);
  const auto live = [](const Trajectory& trajectory) { return trajectory.live(); };
  while (std::any_of(trajectories.begin(), trajectories.end(), live)) {
    throw_if_canceled();
    std::vector<Trajectory*> asking;
    for (Trajectory& trajectory : trajectories)
      if (trajectory.live() && trajectory.needs_network()) asking.push_back(&trajectory);
    ask_network(network, asking, limit, callbacks);
    if (callbacks.on_round) callbacks.on_round();
  }
  std::vector<SampleResult> results;
  for (Trajectory& trajectory : trajectories) results.push_back(trajectory.result());
  return results;
}

at::Tensor sample_one(SampleTask task, const ConditionalModel& network, const SampleCallbacks& callbacks) {
  std::vector<SampleTask> tasks;
  tasks.push_back(std::move(task));
  BatchLimit alone;
  const SampleResult result = sample_batch(tasks, network, alone, callbacks).front();
  if (result.failure) std::rethrow_exception(result.failure);
  return result.sample;
}

bool is_out_of_memory(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const c10::OutOfMemoryError&) {
    return true;
  } catch (const std::exception& other) {
    return out_of_memory_text(other, "").has_value();
  }
}

}  // namespace tessera
