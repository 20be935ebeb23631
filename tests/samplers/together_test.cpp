#include "samplers/together.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

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

std::unique_ptr<Sampler> euler(int64_t steps) {
  SamplerConfig config;
  config.prediction = Prediction::kFlow;
  config.sampler = "euler";
  return make_sampler(config, {.steps = steps});
}

SampleTask task(double noise, double condition, int64_t steps = 3, double scale = 1) {
  return {euler(steps), at::full({1, 2}, noise), {.scale = scale}, at::full({1, 1}, condition), at::zeros({1, 1}), 0};
}

/// What the task gives by itself.
at::Tensor alone(SampleTask made) {
  GuidedModel model(made.guidance, scaled, made.positive, made.negative);
  return run_sampler(*made.sampler, made.noise, model);
}

std::vector<SampleTask> three_kinds() {
  std::vector<SampleTask> tasks;
  tasks.push_back(task(1.0, 0.5));
  tasks.push_back(task(2.0, 0.25, 5, 4.0));  // two rows a call, two calls more
  tasks.push_back(task(3.0, 0.125));
  return tasks;
}

TEST(SampleTogether, EachTaskGetsWhatItGetsAlone) {
  const std::vector<at::Tensor> want = {alone(task(1.0, 0.5)), alone(task(2.0, 0.25, 5, 4.0)), alone(task(3.0, 0.125))};
  for (size_t most = 1; most <= 3; ++most) {
    std::vector<SampleTask> tasks = three_kinds();
    TogetherLimit limit{most, {}};
    std::vector<int64_t> rows;
    int rounds = 0;
    const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
      rows.push_back(x.size(0));
      EXPECT_EQ(timesteps.size(0), x.size(0));
      return scaled(x, timesteps, condition);
    };
    const auto results = sample_together(tasks, network, limit, [&] { ++rounds; });
    EXPECT_EQ(rounds, 5);
    EXPECT_EQ(rows.front(), most == 1 ? 1 : most == 2 ? 3 : 4);
    EXPECT_EQ(rows.back(), 2);  // of the task with more steps, which goes on alone
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(results[i].sample, want[i])) << i << " of " << most;
  }
}

TEST(SampleTogether, ATaskThatIsNotFiniteFailsAlone) {
  std::vector<SampleTask> tasks = three_kinds();
  tasks[0].positive.fill_(std::nan(""));
  TogetherLimit limit{3, {}};
  const auto results = sample_together(tasks, scaled, limit, {});
  EXPECT_FALSE(results[0].sample.defined());
  try {
    std::rethrow_exception(results[0].failure);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadPixels);
  }
  EXPECT_TRUE(at::equal(results[2].sample, alone(task(3.0, 0.125))));
}

TEST(SampleTogether, OutOfMemoryHalvesTheBatchAndNothingIsSampledTwice) {
  std::vector<SampleTask> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(task(i + 1, 0.5));
  std::vector<std::string> notes;
  TogetherLimit limit{4, [&](const std::string& text) { notes.push_back(text); }};
  std::vector<int64_t> rows;
  const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
    if (x.size(0) > 1) {
      if (x.size(0) == 4) throw std::bad_alloc();
      TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate 20 GiB");
    }
    rows.push_back(x.size(0));
    return scaled(x, timesteps, condition);
  };
  const auto results = sample_together(tasks, network, limit, {});
  EXPECT_EQ(limit.tasks, 1u);
  EXPECT_EQ(notes, (std::vector<std::string>{"out of memory with 4 jobs in a batch; going on with 2",
                                             "out of memory with 2 jobs in a batch; going on with 1"}));
  EXPECT_EQ(rows, std::vector<int64_t>(12, 1));  // 4 tasks of 3 steps
  for (int i = 0; i < 4; ++i)
    EXPECT_TRUE(at::equal(results[static_cast<size_t>(i)].sample, alone(task(i + 1, 0.5)))) << i;
}

TEST(SampleTogether, WhatFailsForOneTaskAloneIsItsOwnFailure) {
  std::vector<SampleTask> tasks = three_kinds();
  TogetherLimit limit{3, {}};
  const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
    if ((condition == 0.125).any().item<bool>()) throw std::runtime_error("broken");
    return scaled(x, timesteps, condition);
  };
  const auto results = sample_together(tasks, network, limit, {});
  EXPECT_EQ(limit.tasks, 3u);
  EXPECT_TRUE(results[2].failure);
  EXPECT_TRUE(at::equal(results[0].sample, alone(task(1.0, 0.5))));
  EXPECT_TRUE(at::equal(results[1].sample, alone(task(2.0, 0.25, 5, 4.0))));
}

TEST(SampleTogether, EveryTaskHasAStepCacheOfItsOwn) {
  std::vector<SampleTask> tasks = three_kinds();
  tasks[1].step_cache = 1e9;
  TogetherLimit limit{3, {}};
  const auto results = sample_together(tasks, scaled, limit, {});
  EXPECT_EQ(results[0].step_cache.reused, 0);
  EXPECT_EQ(results[1].step_cache.calls, 5);
  EXPECT_EQ(results[1].step_cache.reused, 4);
  EXPECT_TRUE(at::equal(results[2].sample, alone(task(3.0, 0.125))));
}

TEST(SampleTogether, AStopGoesUpwards) {
  std::vector<SampleTask> tasks = three_kinds();
  TogetherLimit limit{3, {}};
  const auto stopped = [](const at::Tensor&, const at::Tensor&, const at::Tensor&) -> at::Tensor {
    throw Error("stopped", static_cast<ExitCode>(130));
  };
  EXPECT_THROW(sample_together(tasks, stopped, limit, {}), Error);
}

TEST(IsOutOfMemory, KnowsTheWordsOfAllocators) {
  const auto is = [](auto failure) { return is_out_of_memory(std::make_exception_ptr(failure)); };
  EXPECT_TRUE(is(std::bad_alloc()));
  EXPECT_TRUE(is(std::runtime_error("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")));
  EXPECT_FALSE(is(std::runtime_error("shape mismatch")));
}

}  // namespace
}  // namespace tessera
