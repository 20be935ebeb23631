#include "pipelines/families/wan/sampling.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "pipelines/families/wan/resolve.h"
#include "pipelines/recipe.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

class Sampling : public testing::Test {
 protected:
  WanModel model = open_wan_model(test::fixture_folder() / "wan_pipeline" / "pipeline");
  std::vector<std::string> notes;
  Job job = [] {
    Job asked;
    asked.prompt = "a red star";
    asked.output = "x.png";
    asked.width = 48;
    asked.height = 32;
    asked.seed = 5;
    return asked;
  }();

  Job complete() {
    notes.clear();
    return resolve_job(job, model, {}, notes);
  }
  std::string refusal() {
    return test::refusal_of([&] { complete(); });
  }
};

TEST_F(Sampling, SigmasSetTheSteps) {
  job.sigmas = "1, 0.8,0.4,0";
  const Job done = complete();
  EXPECT_EQ(done.steps, 3);
  EXPECT_EQ(sampler_of(done, model)->calls(), 3);
  job.steps = 3;
  EXPECT_EQ(refusal(), "accepted");
  job.steps = 4;
  EXPECT_EQ(refusal(), "--sigmas gives 3 steps, --steps 4: omit --steps");
}

TEST_F(Sampling, SigmasFallFromOneToAboveZero) {
  for (const char* sigmas : {"", "1,", "1,x", "0.5,0.7", "0.5,0.5", "1.5,1", "0", "0,0", "1,0.5,nan", "1;0.5", "-1"}) {
    job.sigmas = sigmas;
    EXPECT_EQ(refusal().rfind("--sigmas wants decreasing numbers, at most 1 and above 0", 0), 0u) << sigmas;
  }
}

TEST_F(Sampling, StepsOfTheUserGoBeforeSigmasOfTheModel) {
  nlohmann::json index = model.folder.index.json();
  index["generation_defaults"] = {{"sigmas", "1,0.5"}};
  model.folder.index = JsonConfig(index, "model_index.json");
  EXPECT_EQ(complete().steps, 2);
  job.steps = 7;
  EXPECT_FALSE(complete().sigmas.has_value());
  EXPECT_EQ(complete().steps, 7);
}

TEST_F(Sampling, SchedulersAreCanonicalAndHonored) {
  EXPECT_EQ(complete().scheduler, "plain");
  job.scheduler = "Karras";
  EXPECT_NE(refusal().find("sampler unipc has no karras noise levels"), std::string::npos);
  job.sampler = "heun";
  EXPECT_EQ(complete().scheduler, "karras");
  EXPECT_NE(recipe_text(complete()).find(", Schedule type: karras,"), std::string::npos);
  job.sigmas = "1,0.5";
  EXPECT_NE(refusal().find("exclude each other"), std::string::npos);
}

TEST_F(Sampling, TheIntervalIsTwoFractions) {
  for (const char* interval : {"", "0.5", "0.6:0.4", "0.5:0.5", "0:1.5", "-0.1:1", "a:b", "0:0.5:1", "0:nan"}) {
    job.guidance_interval = interval;
    EXPECT_EQ(refusal().rfind("--guidance-interval wants START:STOP", 0), 0u) << interval;
  }
  job.guidance_interval = "0.1:0.75";
  const GuidanceConfig config = guidance_of(complete());
  EXPECT_EQ(config.start, 0.1);
  EXPECT_EQ(config.stop, 0.75);
}

TEST_F(Sampling, GuidanceIsPlainUnlessAskedOtherwise) {
  const GuidanceConfig plain = guidance_of(complete());
  EXPECT_EQ(plain.kind, GuidanceKind::kPlain);
  EXPECT_EQ(plain.scale, 5.0);
  EXPECT_EQ(plain.rescale, 0.0);
  job.apg_norm = 2.5;
  const GuidanceConfig projected = guidance_of(complete());
  EXPECT_EQ(projected.kind, GuidanceKind::kProjected);
  EXPECT_EQ(projected.projected_norm, 2.5);
  EXPECT_EQ(projected.projected_parallel, 1.0);
  job.cfg_zero = true;
  EXPECT_EQ(refusal(), "APG and CFG-Zero* exclude each other: use --apg-... or --cfg-zero");
  job.apg_norm.reset();
  job.cfg_zero_steps = 3;
  EXPECT_EQ(guidance_of(complete()).kind, GuidanceKind::kZeroStar);
  EXPECT_EQ(guidance_of(complete()).zero_calls, 3);
}

TEST_F(Sampling, GuidanceWithoutEffectIsTold) {
  job.guidance_rescale = 0.7;
  complete();
  EXPECT_TRUE(notes.empty());
  job.cfg_scale = 1.0;
  complete();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("have no effect without guidance"), std::string::npos);
}

TEST_F(Sampling, TheRecipeMakesTheSameJobAgain) {
  job.sampler = "euler";
  job.sigmas = "1,0.5";
  job.guidance_rescale = 0.5;
  job.guidance_interval = "0:0.5";
  job.cfg_zero = true;
  job.cfg_zero_steps = 2;
  job.step_cache = 0.1;
  const Job done = complete();
  Job again;
  apply_json(again, nlohmann::json(output_recipe(done)).at("job"), "recipe");
  EXPECT_EQ(recipe_json(again), recipe_json(done));
}

TEST_F(Sampling, ADynamicShiftIsThatOfTheTokens) {
  model.scheduler.dynamic_shift = true;
  model.scheduler.linear_time_shift = true;
  model.scheduler.base_tokens = 4;  // 48x32 pixels are 6 tokens
  model.scheduler.max_tokens = 8;
  model.scheduler.base_shift = 1;
  model.scheduler.max_shift = 5;
  job.sigmas = "1,0.5";
  const Job done = complete();
  EXPECT_FALSE(done.flow_shift.has_value());
  EXPECT_NEAR(sampler_of(done, model)->schedule().sigmas[1], 3 * 0.5 / (1 + 2 * 0.5), 1e-6);
  job.flow_shift = 1.0;
  EXPECT_NEAR(sampler_of(complete(), model)->schedule().sigmas[1], 0.5, 1e-6);
}

}  // namespace
}  // namespace tessera
