#include "samplers/loop.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <csignal>
#include <limits>

#include "core/cancel.h"
#include "core/error.h"
#include "samplers/registry.h"
#include "tests/support/sampling.h"

namespace tessera {
namespace {

std::unique_ptr<Sampler> euler(int64_t steps) {
  return make_sampler(SamplerConfig{}, {.steps = steps});
}

TEST(Loop, FollowsAConstantVelocityExactly) {
  const auto sampler = euler(4);
  std::vector<double> seen;
  std::vector<int64_t> done;
  const at::Tensor data = test::run_sampler(
      *sampler, at::full({1, 2}, 3.0),
      [&](const at::Tensor& x, double t, int64_t call, int64_t calls) {
        EXPECT_EQ(call, static_cast<int64_t>(seen.size()));
        EXPECT_EQ(calls, 4);
        seen.push_back(t);
        return at::full_like(x, 2.0);
      },
      [&](int64_t count, int64_t calls, const at::Tensor& sample) {
        EXPECT_EQ(calls, 4);
        EXPECT_EQ(sample.sizes(), at::IntArrayRef({1, 2}));
        done.push_back(count);
      });
  EXPECT_TRUE(at::allclose(data, at::full({1, 2}, 1.0)));  // noise - velocity
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0], 1000);
  EXPECT_EQ(done, (std::vector<int64_t>{1, 2, 3, 4}));
}

/// Rows that the network was asked for in four steps of LCM.
int64_t rows_asked(double scale) {
  SamplerConfig config;
  config.sampler = "lcm";
  int64_t rows = 0;
  const auto network = [&](const at::Tensor& x, const at::Tensor&, const at::Tensor& condition) {
    EXPECT_EQ(x.size(0), condition.size(0));
    rows += x.size(0);
    return at::zeros_like(x);
  };
  SampleTask task{.sampler = make_sampler(config, {.sigmas = {1, 0.75, 0.5, 0.25}}),
                  .noise = at::ones({1, 2}),
                  .guidance = {.scale = scale},
                  .positive = at::ones({1, 3}),
                  .negative = scale > 1 ? at::zeros({1, 3}) : at::Tensor()};
  task.sampler->set_noise([](at::IntArrayRef shape) { return at::zeros(shape); });
  sample_one(std::move(task), network);
  return rows;
}

TEST(Loop, AGuidanceOfOneComputesOneBranch) {
  EXPECT_EQ(rows_asked(1.0), 4);
  EXPECT_EQ(rows_asked(1.5), 8);
}

TEST(Loop, TellsTheDataThatEachPredictionStandsFor) {
  for (const char* name : {"euler", "heun", "unipc", "lcm"}) {
    SCOPED_TRACE(name);
    SamplerConfig config;
    config.sampler = name;
    std::vector<int64_t> done;
    SampleTask task{.sampler = make_sampler(config, {.steps = 3}),
                    .noise = at::full({1, 2}, 3.0),
                    .guidance = {.scale = 1},
                    .positive = at::ones({1, 1}),
                    .negative = {}};
    task.sampler->set_noise([](at::IntArrayRef shape) { return at::full(shape, 3.0); });
    const int64_t calls = task.sampler->calls();
    task.on_data = [&](int64_t count, const at::Tensor& data) {
      done.push_back(count);
      EXPECT_TRUE(at::allclose(data, at::full({1, 2}, 1.0), 1e-5, 1e-5)) << data;  // noise 3 less the velocity 2
    };
    sample_one(std::move(task),
               [](const at::Tensor& x, const at::Tensor&, const at::Tensor&) { return at::full_like(x, 2.0); });
    ASSERT_EQ(static_cast<int64_t>(done.size()), calls);
    EXPECT_EQ(done.back(), calls);
  }
}

std::string failure_at(int64_t bad_call, float bad_value) {
  const auto sampler = euler(5);
  try {
    test::run_sampler(*sampler, at::ones({1, 4}), [&](const at::Tensor& x, double, int64_t call, int64_t) {
      at::Tensor out = at::zeros_like(x);
      if (call == bad_call) out[0][1] = bad_value;
      return out;
    });
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadPixels);
    return error.what();
  }
  return "no error";
}

TEST(Loop, NamesTheStepThatIsNotFinite) {
  const std::string prediction = failure_at(2, std::numeric_limits<float>::quiet_NaN());
  EXPECT_NE(prediction.find("the model's prediction is not finite after step 3 of 5"), std::string::npos) << prediction;
  EXPECT_NE(prediction.find("1 of 4 values"), std::string::npos) << prediction;
  EXPECT_NE(failure_at(0, std::numeric_limits<float>::infinity()).find("step 1 of 5"), std::string::npos);
}

TEST(Loop, NamesASampleThatOverflows) {
  SamplerConfig config;
  config.sampler = "heun";
  const auto sampler = make_sampler(config, {.steps = 3});
  try {
    test::run_sampler(*sampler, at::ones({1}), [](const at::Tensor& x, double, int64_t, int64_t) {
      return at::full_like(x, -std::numeric_limits<float>::max());
    });
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the sample is not finite after step"), std::string::npos) << error.what();
  }
}

TEST(Loop, StopsWithinAStepWhenAsked) {
  install_signal_handlers();
  const auto sampler = euler(5);
  int64_t calls = 0;
  EXPECT_THROW(test::run_sampler(*sampler, at::ones({1}),
                                 [&](const at::Tensor& x, double, int64_t, int64_t) {
                                   if (++calls == 2) std::raise(SIGINT);
                                   return x;
                                 }),
               Error);
  reset_canceled();
  EXPECT_EQ(calls, 2);
}

TEST(Loop, KeepsNoGradients) {
  const at::Tensor weight = at::ones({1}).set_requires_grad(true);
  const auto sampler = euler(2);
  const at::Tensor data = test::run_sampler(*sampler, at::ones({1}),
                                            [&](const at::Tensor& x, double, int64_t, int64_t) { return x * weight; });
  EXPECT_FALSE(data.requires_grad());
}

}  // namespace
}  // namespace tessera
