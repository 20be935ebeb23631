#include "samplers/together.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <new>
#include <span>

#include "core/cancel.h"
#include "core/error.h"
#include "samplers/loop.h"

namespace tessera {
namespace {

/// A task on its way.
struct Runner {
  Runner(SampleTask& task, SampleResult& goal)
      : trajectory(*task.sampler, task.noise),
        guidance(task.guidance, task.positive, task.negative),
        cache(task.step_cache),
        result(goal) {}

  bool live() const { return !result.failure && !trajectory.finished(); }

  /// Goes on without the network where that is possible; otherwise `input` says what to ask it.
  bool needs_network() {
    const at::Tensor x = trajectory.input();
    input = guidance.ask(x, trajectory.timestep(), trajectory.call(), trajectory.calls());
    if (!input.x.defined()) {
      advance(at::zeros_like(x));
      return false;
    }
    const at::Tensor kept = cache.recall(input.x);
    if (kept.defined()) advance(guidance.answer(kept));
    return !kept.defined();
  }

  void take(const at::Tensor& output) {
    cache.keep(input.x, output);
    input = {};
    advance(guidance.answer(output));
  }

  void advance(const at::Tensor& prediction) {
    try {
      trajectory.advance(prediction);
    } catch (const Error&) {
      result.failure = std::current_exception();
    }
  }

  Trajectory trajectory;
  Guidance guidance;
  StepCache cache;
  NetworkInput input;
  SampleResult& result;
};

at::Tensor joined(std::span<Runner* const> runners, at::Tensor NetworkInput::*part) {
  std::vector<at::Tensor> rows;
  for (const Runner* runner : runners) rows.push_back(runner->input.*part);
  return rows.size() == 1 ? rows.front() : at::cat(rows);
}

/// Asks the network for all of them at once; what went wrong, if anything did. A stop by signal goes on upwards.
std::exception_ptr call_network(const ConditionalModel& network, std::span<Runner* const> runners, at::Tensor& output) {
  try {
    output = network(joined(runners, &NetworkInput::x), joined(runners, &NetworkInput::timesteps),
                     joined(runners, &NetworkInput::condition));
    return {};
  } catch (const Error& failure) {
    if (static_cast<int>(failure.code()) >= 128) throw;
    return std::current_exception();
  } catch (const std::exception&) {
    return std::current_exception();
  }
}

void hand_out(const at::Tensor& output, std::span<Runner* const> runners) {
  int64_t row = 0;
  for (Runner* runner : runners) {
    const int64_t rows = runner->input.x.size(0);
    runner->take(output.narrow(0, row, rows));
    row += rows;
  }
  TORCH_CHECK(row == output.size(0), "sample_together: the network made ", output.size(0), " predictions of ", row);
}

/// A call that fails is made again with half of the tasks, down to the one that it fails for.
void ask_network(const ConditionalModel& network, std::span<Runner* const> runners, TogetherLimit& limit) {
  size_t most = limit.tasks;
  while (!runners.empty()) {
    const auto some = runners.first(std::min(most, runners.size()));
    at::Tensor output;
    if (const std::exception_ptr failure = call_network(network, some, output); !failure) {
      hand_out(output, some);
    } else if (some.size() == 1) {
      some.front()->result.failure = failure;
    } else {
      most = some.size() / 2;
      if (!is_out_of_memory(failure)) continue;
      limit.tasks = most;
      if (limit.note)
        limit.note("out of memory with " + std::to_string(some.size()) + " jobs in a batch; going on with " +
                   std::to_string(most));
      continue;
    }
    runners = runners.subspan(some.size());
  }
}

}  // namespace

std::vector<SampleResult> sample_together(std::vector<SampleTask>& tasks, const ConditionalModel& network,
                                          TogetherLimit& limit, const std::function<void()>& on_call) {
  TORCH_CHECK(limit.tasks >= 1, "sample_together: a call needs at least one task");
  const c10::NoGradGuard no_gradients;
  std::vector<SampleResult> results(tasks.size());
  std::vector<Runner> runners;
  runners.reserve(tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) runners.emplace_back(tasks[i], results[i]);
  for (bool any = true; any;) {
    throw_if_canceled();
    any = false;
    std::vector<Runner*> asking;
    for (Runner& runner : runners) {
      if (!runner.live()) continue;
      any = true;
      if (runner.needs_network()) asking.push_back(&runner);
    }
    ask_network(network, asking, limit);
    if (any && on_call) on_call();
  }
  for (size_t i = 0; i < tasks.size(); ++i) {
    results[i].step_cache = runners[i].cache.report();
    if (!results[i].failure) results[i].sample = runners[i].trajectory.sample();
  }
  return results;
}

bool is_out_of_memory(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const c10::OutOfMemoryError&) {
    return true;
  } catch (const std::exception& other) {
    const std::string text = other.what();
    for (const char* words : {"out of memory", "can't allocate memory", "not enough memory"})
      if (text.find(words) != std::string::npos) return true;
    return false;
  }
}

}  // namespace tessera
