#include "pipelines/few_steps.h"

#include <gtest/gtest.h>

#include "pipelines/families/wan/resolve.h"
#include "pipelines/families/wan/sampling.h"
#include "pipelines/recipe.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

class FewSteps : public testing::Test {
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
  std::vector<double> timesteps() { return sampler_of(complete(), model)->schedule().timesteps; }
};

TEST_F(FewSteps, APresetSetsTheWholeSchedule) {
  job.preset = "LightX2V";
  const Job done = complete();
  EXPECT_EQ(done.preset, "lightx2v");
  EXPECT_EQ(done.sampler, "lcm");
  EXPECT_EQ(done.steps, 4);
  EXPECT_EQ(done.flow_shift, 5.0);
  EXPECT_EQ(done.cfg_scale, 1.0);
  EXPECT_EQ(timesteps(), (std::vector<double>{1000, 937.5, to_float32(1000 * to_float32(2.5 / 3)), 625}));
  EXPECT_TRUE(notes.empty());
  EXPECT_NE(recipe_text(done).find(", Preset: lightx2v,"), std::string::npos) << recipe_text(done);
  job.preset = "lightx3v";
  EXPECT_NE(refusal().find("did you mean lightx2v?"), std::string::npos) << refusal();
}

TEST_F(FewSteps, WhatIsGivenGoesBeforeThePreset) {
  job.preset = "lightx2v";
  job.cfg_scale = 1.5;
  job.sampler = "euler";
  EXPECT_EQ(complete().cfg_scale, 1.5);
  EXPECT_EQ(complete().sampler, "euler");
  EXPECT_TRUE(notes.empty());
  job.steps = 4;  // its own number
  EXPECT_EQ(complete().sigmas, preset_settings("lightx2v").sigmas);
  EXPECT_TRUE(notes.empty());
  job.steps = 8;
  EXPECT_EQ(complete().sigmas, preset_settings("lightx2v-8").sigmas);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0], "preset lightx2v is for 4 steps: --steps 8 takes their place");
  job.steps.reset();
  job.sigmas = "1,0.5";
  EXPECT_EQ(complete().steps, 2);
  EXPECT_EQ(notes.size(), 1u);
  job.preset = "fastwan";
  job.sigmas.reset();
  job.steps = 4;
  EXPECT_EQ(refusal(), "preset fastwan has the timesteps of its 3 steps: omit --steps 4, or give --timesteps");
  job.preset = "accvideo";
  EXPECT_EQ(complete().steps, 4);
  EXPECT_FALSE(complete().sigmas.has_value());
}

TEST_F(FewSteps, ExplicitTimestepsHaveNoShift) {
  job.sampler = "lcm";
  job.timesteps = "1000, 757,522,0";
  const Job done = complete();
  EXPECT_EQ(done.steps, 3);
  EXPECT_EQ(done.flow_shift, 1.0);
  EXPECT_EQ(timesteps(), (std::vector<double>{1000, 757, 522}));
  job.flow_shift = 5;
  EXPECT_EQ(refusal(), "--timesteps are what the network is told, after any shift: omit --flow-shift");
  job.flow_shift.reset();
  job.steps = 4;
  EXPECT_EQ(refusal(), "--timesteps gives 3 steps, --steps 4: omit --steps");
  job.steps.reset();
  job.sigmas = "1,0.5";
  EXPECT_EQ(refusal(), "--sigmas and --timesteps exclude each other: give one of them");
  job.sigmas.reset();
  for (const char* wrong : {"", "1001,500", "500,700", "0", "-5", "1000;500", "1000,x"}) {
    job.timesteps = wrong;
    EXPECT_EQ(refusal().rfind("--timesteps wants decreasing numbers, at most 1000 and above 0", 0), 0u) << wrong;
  }
  job.timesteps = "1000,500";
  job.sampler = "unipc";
  EXPECT_NE(refusal().find("takes no explicit timesteps"), std::string::npos);
}

TEST_F(FewSteps, AModelMayHaveAPresetOfItsOwn) {
  nlohmann::json index = model.folder.index.json();
  index["generation_defaults"] = {{"preset", "causvid"}};
  model.folder.index = JsonConfig(index, "model_index.json");
  EXPECT_EQ(timesteps(), (std::vector<double>{1000, 757, 522}));
  EXPECT_EQ(complete().cfg_scale, 1.0);
  EXPECT_FALSE(complete().preset.has_value());
  job.steps = 7;  // the user's steps are the model's ordinary ones, with its shift
  EXPECT_EQ(complete().flow_shift, 3.0);
  EXPECT_FALSE(complete().timesteps.has_value());
  EXPECT_EQ(timesteps().size(), 7u);
  job.steps.reset();
  job.flow_shift = 5;
  EXPECT_NE(refusal().find("omit --flow-shift"), std::string::npos);
}

TEST_F(FewSteps, TheRecipeMakesTheSameJobAgain) {
  for (const char* preset : {"lightx2v", "fastwan", "accvideo"}) {
    job.preset = preset;
    const Job done = complete();
    Job again;
    apply_json(again, nlohmann::json(output_recipe(done)).at("job"), "recipe");
    again.output = "x.png";
    std::vector<std::string> heard;
    EXPECT_EQ(recipe_json(resolve_job(again, model, {}, heard)), recipe_json(done)) << preset;
    EXPECT_TRUE(heard.empty()) << heard.front();
  }
}

TEST(ScheduleOfMetadata, TakesTheOptionsByAnyName) {
  const Job job = schedule_of_metadata({{"sampler", "lcm"},
                                        {"num_inference_steps", "6"},
                                        {"guidance_scale", "1"},
                                        {"sample_shift", "5"},
                                        {"ss_network_dim", "64"},
                                        {"format", "pt"}},
                                       "lora.safetensors");
  EXPECT_EQ(job.sampler, "lcm");
  EXPECT_EQ(job.steps, 6);
  EXPECT_EQ(job.cfg_scale, 1.0);
  EXPECT_EQ(job.flow_shift, 5.0);
  EXPECT_EQ(recipe_json(schedule_of_metadata({{"ss_network_dim", "64"}}, "lora")), recipe_json(Job{}));
}

TEST(ScheduleOfMetadata, ReadsListsOfEitherKind) {
  EXPECT_EQ(schedule_of_metadata({{"timesteps", "[1000, 757, 522]"}}, "lora").timesteps, "1000,757,522");
  EXPECT_EQ(schedule_of_metadata({{"sigmas", "1,0.5"}}, "lora").sigmas, "1,0.5");
  const std::map<std::string, std::string> shifted = {{"denoising_step_list", "[1000, 750, 500, 250]"},
                                                      {"sample_shift", "5"},
                                                      {"infer_steps", "4"},
                                                      {"enable_cfg", "false"}};
  const Job warped = schedule_of_metadata(shifted, "lora");
  EXPECT_EQ(warped.sigmas, "1.0,0.75,0.5,0.25");
  EXPECT_EQ(warped.flow_shift, 5.0);
  EXPECT_EQ(warped.cfg_scale, 1.0);
  EXPECT_FALSE(warped.steps.has_value());
  auto plain = shifted;
  plain["warp_denoising_step"] = "false";
  EXPECT_EQ(schedule_of_metadata(plain, "lora").timesteps, "1000.0,750.0,500.0,250.0");
  EXPECT_FALSE(schedule_of_metadata(plain, "lora").flow_shift.has_value());
  EXPECT_EQ(schedule_of_metadata({{"denoising_step_list", "1000,757,522,0"}}, "lora").timesteps, "1000.0,757.0,522.0");
}

TEST(ScheduleOfMetadata, ExpandsAPresetUnderWhatIsExplicit) {
  const Job job = schedule_of_metadata({{"preset", "lightx2v"}, {"cfg_scale", "2"}}, "lora");
  EXPECT_EQ(job.sigmas, preset_settings("lightx2v").sigmas);
  EXPECT_EQ(job.cfg_scale, 2.0);
}

TEST(ScheduleOfMetadata, NamesTheFileAndTheKeyOfWhatIsWrong) {
  const auto refusal = [](const std::map<std::string, std::string>& metadata) {
    return test::refusal_of([&] { schedule_of_metadata(metadata, "lora.safetensors"); });
  };
  EXPECT_EQ(refusal({{"guidance_scale", "high"}}).rfind("lora.safetensors: \"guidance_scale\": --cfg-scale wants", 0),
            0u);
  EXPECT_EQ(refusal({{"denoising_step_list", "[250, 500]"}}).rfind("lora.safetensors: denoising_step_list wants", 0),
            0u);
  EXPECT_EQ(refusal({{"denoising_step_list", "{\"a\": 1}"}}).rfind("lora.safetensors: denoising_step_list wants", 0),
            0u);
  EXPECT_EQ(refusal({{"sigmas", "1"}, {"timesteps", "1000"}}),
            "lora.safetensors: has both sigmas and timesteps; keep one of them");
  EXPECT_NE(refusal({{"preset", "lightx3v"}}).find("did you mean"), std::string::npos);
}

}  // namespace
}  // namespace tessera
