#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <new>

#include "core/error.h"
#include "samplers/loop.h"
#include "samplers/registry.h"

namespace tessera {
namespace {

/// x times its condition: every row depends on nothing but itself.
at::Tensor scaled(const at::Tensor& x, const at::Tensor&, const at::Tensor& condition) {
  return x * condition;
}

std::unique_ptr<Sampler> euler_steps(int64_t steps) {
  SamplerConfig config;
  config.prediction = Prediction::kFlow;
  config.sampler = "euler";
  return make_sampler(config, {.steps = steps});
}

SampleTask task(double noise, double condition, int64_t steps = 3, double scale = 1) {
  return {.sampler = euler_steps(steps),
          .noise = at::full({1, 2}, noise),
          .guidance = {.scale = scale},
          .positive = at::full({1, 1}, condition),
          .negative = at::zeros({1, 1})};
}

/// What the task gives by itself.
at::Tensor alone(SampleTask made) {
  return sample_one(std::move(made), scaled);
}

std::vector<SampleTask> three_kinds() {
  std::vector<SampleTask> tasks;
  tasks.push_back(task(1.0, 0.5));
  tasks.push_back(task(2.0, 0.25, 5, 4.0));  // two rows a call, two calls more
  tasks.push_back(task(3.0, 0.125));
  return tasks;
}

TEST(SampleBatch, EachTaskGetsWhatItGetsAlone) {
  const std::vector<at::Tensor> want = {alone(task(1.0, 0.5)), alone(task(2.0, 0.25, 5, 4.0)), alone(task(3.0, 0.125))};
  for (size_t most = 1; most <= 3; ++most) {
    std::vector<SampleTask> tasks = three_kinds();
    BatchLimit limit{most, {}};
    std::vector<int64_t> rows;
    int rounds = 0;
    const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
      rows.push_back(x.size(0));
      EXPECT_EQ(timesteps.size(0), x.size(0));
      return scaled(x, timesteps, condition);
    };
    const auto results = sample_batch(tasks, network, limit, {.on_round = [&] { ++rounds; }});
    EXPECT_EQ(rounds, 5);
    EXPECT_EQ(rows.front(), most == 1 ? 1 : most == 2 ? 3 : 4);
    EXPECT_EQ(rows.back(), 2);  // of the task with more steps, which continues alone
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(results[i].sample, want[i])) << i << " of " << most;
  }
}

TEST(SampleBatch, ATaskThatIsNotFiniteFailsAlone) {
  std::vector<SampleTask> tasks = three_kinds();
  tasks[0].positive.fill_(std::nan(""));
  BatchLimit limit{3, {}};
  const auto results = sample_batch(tasks, scaled, limit);
  EXPECT_FALSE(results[0].sample.defined());
  try {
    std::rethrow_exception(results[0].failure);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadPixels);
  }
  EXPECT_TRUE(at::equal(results[2].sample, alone(task(3.0, 0.125))));
}

TEST(SampleBatch, OutOfMemoryHalvesTheBatchAndNothingIsSampledTwice) {
  std::vector<SampleTask> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(task(i + 1, 0.5));
  std::vector<std::string> notes;
  BatchLimit limit{4, [&](const std::string& text) { notes.push_back(text); }};
  std::vector<int64_t> rows;
  const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
    if (x.size(0) > 1) {
      if (x.size(0) == 4) throw std::bad_alloc();
      TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate 20 GiB");
    }
    rows.push_back(x.size(0));
    return scaled(x, timesteps, condition);
  };
  const auto results = sample_batch(tasks, network, limit);
  EXPECT_EQ(limit.tasks, 1u);
  EXPECT_EQ(notes, (std::vector<std::string>{"out of memory with 4 jobs in a batch; continuing with 2",
                                             "out of memory with 2 jobs in a batch; continuing with 1"}));
  EXPECT_EQ(rows, std::vector<int64_t>(12, 1));  // 4 tasks of 3 steps
  for (int i = 0; i < 4; ++i)
    EXPECT_TRUE(at::equal(results[static_cast<size_t>(i)].sample, alone(task(i + 1, 0.5)))) << i;
}

TEST(SampleBatch, WhatFailsForOneTaskAloneIsItsOwnFailure) {
  std::vector<SampleTask> tasks = three_kinds();
  BatchLimit limit{3, {}};
  const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
    if ((condition == 0.125).any().item<bool>()) throw std::runtime_error("broken");
    return scaled(x, timesteps, condition);
  };
  const auto results = sample_batch(tasks, network, limit);
  EXPECT_EQ(limit.tasks, 3u);
  EXPECT_TRUE(results[2].failure);
  EXPECT_TRUE(at::equal(results[0].sample, alone(task(1.0, 0.5))));
  EXPECT_TRUE(at::equal(results[1].sample, alone(task(2.0, 0.25, 5, 4.0))));
}

/// A solver that breaks after its first call.
class BrokenSampler : public Sampler {
 public:
  BrokenSampler() : Sampler(euler_steps(3)->schedule()) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    TORCH_CHECK(i == 0, "broken solver");
    return sample - output;
  }
};

TEST(SampleBatch, WhatASolverAGuidanceOrAStepCacheThrowsIsItsTasksFailureAlone) {
  std::vector<SampleTask> tasks = three_kinds();
  tasks[0].sampler = std::make_shared<BrokenSampler>();
  tasks[1].negative = at::zeros({1, 2});  // not the shape of the positive condition: Guidance refuses
  tasks.push_back(task(1.0, 0.5));
  tasks[3].step_cache = -1;  // StepCache refuses
  BatchLimit limit{4, {}};
  const auto results = sample_batch(tasks, scaled, limit);
  for (const size_t broken : {size_t{0}, size_t{1}, size_t{3}}) {
    EXPECT_FALSE(results[broken].sample.defined());
    EXPECT_THROW(std::rethrow_exception(results[broken].failure), c10::Error);
  }
  EXPECT_FALSE(results[2].failure);
  EXPECT_TRUE(at::equal(results[2].sample, alone(task(3.0, 0.125))));
}

TEST(SampleBatch, TellsWhoseRowsACallHad) {
  std::vector<SampleTask> tasks = three_kinds();
  BatchLimit limit{2, {}};
  std::vector<std::array<int64_t, 3>> rows, announced;
  const auto into = [](std::vector<std::array<int64_t, 3>>& list) {
    return [&list](std::span<const TaskRows> call) {
      for (const TaskRows& part : call) list.push_back({static_cast<int64_t>(part.task), part.first, part.count});
    };
  };
  sample_batch(tasks, scaled, limit, {.before_network_call = into(announced), .on_network_call = into(rows)});
  EXPECT_EQ(announced, rows);
  // The second task has guidance: two rows. Two tasks share a call, the third has one of its own.
  const std::vector<std::array<int64_t, 3>> first_round = {{0, 0, 1}, {1, 1, 2}, {2, 0, 1}};
  ASSERT_GE(rows.size(), 3u);
  EXPECT_EQ(std::vector(rows.begin(), rows.begin() + 3), first_round);
}

TEST(SampleBatch, EveryTaskHasAStepCacheOfItsOwn) {
  std::vector<SampleTask> tasks = three_kinds();
  tasks[1].step_cache = 1e9;
  BatchLimit limit{3, {}};
  const auto results = sample_batch(tasks, scaled, limit);
  EXPECT_EQ(results[0].step_cache.reused, 0);
  EXPECT_EQ(results[1].step_cache.calls, 5);
  EXPECT_EQ(results[1].step_cache.reused, 4);
  EXPECT_TRUE(at::equal(results[2].sample, alone(task(3.0, 0.125))));
  std::vector<SampleTask> with_two_networks = three_kinds();
  with_two_networks[1].step_cache = 1e9;
  with_two_networks[1].guidance.low_below = with_two_networks[1].sampler->schedule().timesteps[2];
  EXPECT_EQ(sample_batch(with_two_networks, scaled, limit)[1].step_cache.reused, 3);  // the second is asked once too
}

TEST(SampleBatch, CancellationIsRethrown) {
  std::vector<SampleTask> tasks = three_kinds();
  BatchLimit limit{3, {}};
  const auto stopped = [](const at::Tensor&, const at::Tensor&, const at::Tensor&) -> at::Tensor {
    throw Error("stopped", static_cast<ExitCode>(130));
  };
  EXPECT_THROW(sample_batch(tasks, stopped, limit), Error);
}

TEST(IsOutOfMemory, KnowsTheWordsOfAllocators) {
  const auto is = [](auto failure) { return is_out_of_memory(std::make_exception_ptr(failure)); };
  EXPECT_TRUE(is(std::bad_alloc()));
  EXPECT_TRUE(is(std::runtime_error("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")));
  EXPECT_FALSE(is(std::runtime_error("shape mismatch")));
}

}  // namespace
}  // namespace tessera
