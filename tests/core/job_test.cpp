#include "core/job.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/errors.h"

namespace tessera {
namespace {

Job with(const std::string& name, const std::string& value) {
  Job job;
  set_job_option(job, find_job_option(name), value);
  return job;
}

std::string refusal(const std::string& name, const std::string& value) {
  return test::error_of([&] { with(name, value); });
}

TEST(JobOptions, NamesAndAliasesAreUnique) {
  std::set<std::string> seen;
  for (const auto& option : job_options()) {
    EXPECT_TRUE(seen.insert(option.name).second) << option.name;
    if (!option.short_name.empty()) {
      EXPECT_TRUE(seen.insert(option.short_name).second) << option.short_name;
    }
    for (const auto& alias : option.aliases) EXPECT_TRUE(seen.insert(alias).second) << alias;
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_EQ(option.name.find('_'), std::string::npos) << option.name;
  }
}

TEST(JobOptions, OtherProgramsSpellingsAreUnderstood) {
  EXPECT_EQ(with("num_inference_steps", "7").steps, 7);
  EXPECT_EQ(with("sample-steps", "7").steps, 7);
  EXPECT_EQ(with("frame_num", "9").frames, 9);
  EXPECT_EQ(with("video-frames", "9").frames, 9);
  EXPECT_EQ(with("guidance_scale", "4.5").cfg_scale, 4.5);
  EXPECT_EQ(with("sample_guide_scale", "4.5").cfg_scale, 4.5);
  EXPECT_EQ(with("sample_shift", "8").flow_shift, 8.0);
  EXPECT_EQ(with("sampling-method", "unipc").sampler, "unipc");
  EXPECT_EQ(with("base_seed", "3").seed, 3);
  EXPECT_EQ(with("save_file", "a.mp4").output, "a.mp4");
}

TEST(JobOptions, SizeIsWidthThenHeight) {
  for (const std::string text : {"832x480", "832*480", "832X480"}) {
    const Job job = with("size", text);
    EXPECT_EQ(job.width, 832) << text;
    EXPECT_EQ(job.height, 480) << text;
  }
  EXPECT_EQ(refusal("size", "832"), "--size wants WIDTHxHEIGHT such as 832x480, got \"832\"");
  EXPECT_EQ(refusal("size", "832x"), "--size wants WIDTHxHEIGHT such as 832x480, got \"832x\"");
  EXPECT_EQ(refusal("size", "0x480"), "--width wants a whole number from 1 to 16384, got \"0\"");
}

TEST(JobOptions, LimitsAndKindsAreChecked) {
  EXPECT_EQ(refusal("steps", "0"), "--steps wants a whole number from 1 to 1000, got \"0\"");
  EXPECT_EQ(refusal("steps", "5.5"), "--steps wants a whole number from 1 to 1000, got \"5.5\"");
  EXPECT_EQ(refusal("steps", ""), "--steps wants a whole number from 1 to 1000, got \"\"");
  EXPECT_EQ(refusal("cfg-scale", "nan"), "--cfg-scale wants a number from 0 to 100, got \"nan\"");
  EXPECT_EQ(refusal("flow-shift", "0"), "--flow-shift wants a number from 0.01 to 100, got \"0\"");
  EXPECT_EQ(refusal("seed", "-2"), "--seed wants a whole number from -1 to 18446744073709551615, got \"-2\"");
  EXPECT_EQ(refusal("dtype", "fp33"), "--dtype: unknown value \"fp33\" (did you mean fp32?)");
  EXPECT_EQ(with("seed", "-1").seed, -1);
  EXPECT_EQ(with("steps", "1000").steps, 1000);
}

TEST(JobOptions, WholeNumbersMayBeWrittenWithAPoint) {
  EXPECT_EQ(with("steps", "16.0").steps, 16);
  EXPECT_EQ(with("steps", "1e2").steps, 100);
  EXPECT_EQ(with("size", "64.0x32").width, 64);
  EXPECT_EQ(with("seed", "667592835555840.0").seed, 667592835555840);
  EXPECT_EQ(with("seed", "-1.0").seed, -1);
  EXPECT_EQ(refusal("seed", "1.5"), "--seed wants a whole number from -1 to 18446744073709551615, got \"1.5\"");
  // A double of that size stands for several whole numbers.
  EXPECT_NE(refusal("seed", "18446744073709551615.0"), "accepted");
}

TEST(JobOptions, SeedsGoUpToTwoToThe64) {
  const Seed largest = with("seed", "18446744073709551615").seed;
  EXPECT_EQ(largest.value(), 18446744073709551615u);
  EXPECT_EQ(largest.text(), "18446744073709551615");
  EXPECT_FALSE(largest.is_random());
  EXPECT_TRUE(largest.reaches(1));
  EXPECT_FALSE(largest.reaches(2));
  EXPECT_EQ((with("seed", "9223372036854775807").seed + 1).text(), "9223372036854775808");
  EXPECT_NE(refusal("seed", "18446744073709551616"), "accepted");
  Job job, again;
  job.seed = largest;
  EXPECT_EQ(recipe_json(job)["seed"].dump(), "18446744073709551615");
  apply_json(again, nlohmann::json::parse(recipe_json(job).dump()), "recipe");
  EXPECT_EQ(again.seed, largest);
}

TEST(JobOptions, FrameRatesAreExact) {
  EXPECT_EQ(with("fps", "16").fps, (FrameRate{16, 1}));
  EXPECT_EQ(with("fps", "23.976").fps, (FrameRate{24000, 1001}));
  EXPECT_EQ(with("frame-rate", "30000/1001").fps, (FrameRate{30000, 1001}));
  for (const char* text : {"0", "-1", "241", "24/0", "0.5", "1/2", "x", "24fps", "1e400", "nan", "16/", ""})
    EXPECT_NE(refusal("fps", text), "accepted") << text;
  EXPECT_EQ(refusal("fps", "0"),
            "--fps wants frames per second from 1 to 240 such as 24, 23.976 or 30000/1001, got \"0\"");
  Job job, again;
  job.fps = FrameRate{24000, 1001};
  EXPECT_EQ(recipe_json(job)["fps"], "24000/1001");
  apply_json(again, nlohmann::json(recipe_json(job)), "recipe");
  EXPECT_EQ(again.fps, job.fps);
  job.fps = FrameRate{16, 1};
  EXPECT_EQ(recipe_json(job)["fps"], 16);
}

TEST(JobOptions, DefaultsAreShown) {
  EXPECT_EQ(default_text(find_job_option("steps")), "model default");
  EXPECT_EQ(default_text(find_job_option("seed")), "-1");
  EXPECT_EQ(default_text(find_job_option("dtype")), "auto");
  EXPECT_EQ(default_text(find_job_option("model")), "");
  EXPECT_EQ(default_text(find_job_option("json")), "");
}

TEST(JobJson, RecipeRoundTrips) {
  Job job;
  job.prompt = "a \"red\" star";
  job.width = 128;
  job.cfg_scale = 4.5;
  job.sampler = "unipc";
  job.seed = 9007199254740991;
  const auto recipe = recipe_json(job);
  EXPECT_EQ(recipe["cfg_scale"], 4.5);
  EXPECT_FALSE(recipe.contains("height"));
  EXPECT_FALSE(recipe.contains("output"));
  Job again;
  apply_json(again, nlohmann::json(recipe), "recipe");
  EXPECT_EQ(recipe_json(again), recipe);
  EXPECT_EQ(again.seed, 9007199254740991);
}

TEST(JobLoras, AreAFileWithAStrengthOrAList) {
  const auto loras = [](const std::string& value) { return with("lora", value).loras; };
  using Uses = std::vector<LoraUse>;
  EXPECT_EQ(loras("a.safetensors"), (Uses{{"a.safetensors", 1}}));
  EXPECT_EQ(loras("dir/a:b.safetensors:-0.5"), (Uses{{"dir/a:b.safetensors", -0.5}}));
  EXPECT_EQ(loras("a:b"), (Uses{{"a:b", 1}}));
  EXPECT_EQ(loras("[x].safetensors:2"), (Uses{{"[x].safetensors", 2}}));
  EXPECT_EQ(loras(R"(["a:0.5", {"path": "b:1"}, {"path": "c", "strength": 2, "sha256": "12"}])"),
            (Uses{{"a", 0.5}, {"b:1", 1}, {"c", 2, "12"}}));
  EXPECT_EQ(loras("[]"), Uses{});
  EXPECT_EQ(refusal("lora", "a:101"), "--lora wants a strength from -100 to 100, got \"101\"");
  EXPECT_EQ(refusal("lora", "a:nan"), "--lora wants a strength from -100 to 100, got \"nan\"");
  EXPECT_EQ(refusal("lora", ":1"), "--lora wants FILE or FILE:STRENGTH, got \":1\"");
  for (const char* wrong : {"[1]", R"([{"strength": 1}])", R"([{"path": "a", "weight": 1}])", R"([{"path": 1}])",
                            R"([{"path": "a", "strength": "1"}])", R"([{"path": "a", "strength": 1000}])"})
    EXPECT_TRUE(refusal("lora", wrong).starts_with("--lora")) << wrong;
}

TEST(JobLoras, SeveralFlagsAreOneListAndRecipesKeepIt) {
  const JobOption& option = find_job_option("loras");
  EXPECT_EQ(option.name, "lora");
  EXPECT_EQ(json_key(option), "loras");
  const std::string all = value_of_all(option, {"a:0.5", "b", R"(["c:2"])"});
  Job job;
  set_job_option(job, option, all);
  ASSERT_EQ(job.loras.size(), 3u);
  EXPECT_EQ(job.loras[2], (LoraUse{"c", 2}));
  EXPECT_EQ(value_of_all(find_job_option("steps"), {"3", "5"}), "5");
  EXPECT_FALSE(recipe_json(Job{}).contains("loras"));
  job.loras[0].sha256 = "ab";
  const auto recipe = recipe_json(job);
  EXPECT_EQ(recipe["loras"][0].dump(), R"({"path":"a","strength":0.5,"sha256":"ab"})");
  Job again;
  apply_json(again, nlohmann::json::parse(recipe.dump()), "r");
  EXPECT_EQ(again.loras, job.loras);
}

TEST(JobPictures, AreAFileOrAnObjectAndRecipesKeepTheirContent) {
  EXPECT_EQ(with("image", "dir/a.png").image, (InputPicture{"dir/a.png"}));
  EXPECT_EQ(with("init_img", R"({"path": "a.png", "sha256": "12"})").image, (InputPicture{"a.png", "12"}));
  EXPECT_EQ(with("end-image", "{a}.png").last_image, (InputPicture{"{a}.png"}));
  for (const char* wrong : {R"({"sha256": "1"})", R"({"path": 1})", R"({"path": "a", "size": "1"})"})
    EXPECT_TRUE(refusal("image", wrong).starts_with("--image")) << wrong;
  EXPECT_EQ(refusal("resize-mode", "squeeze").rfind("--resize-mode: unknown value \"squeeze\"", 0), 0u);
  EXPECT_FALSE(recipe_json(Job{}).contains("image"));
  Job job;
  job.image = {"a.png", "12"};
  const auto recipe = recipe_json(job);
  EXPECT_EQ(recipe["image"].dump(), R"({"path":"a.png","sha256":"12"})");
  Job again;
  apply_json(again, nlohmann::json::parse(recipe.dump()), "r");
  EXPECT_EQ(again.image, job.image);
}

TEST(JobLoras, MayBeForOneExpert) {
  const Job job = with("lora", R"([{"path": "a", "expert": "high"}, {"path": "b", "is_high_noise": true}, "c"])");
  EXPECT_EQ(job.loras[0].expert, "high");
  EXPECT_EQ(job.loras[1].expert, "high");
  EXPECT_EQ(job.loras[2].expert, "");
  EXPECT_EQ(recipe_json(job)["loras"][0].dump(), R"({"path":"a","strength":1.0,"expert":"high"})");
  EXPECT_TRUE(refusal("lora", R"([{"path": "a", "expert": "both"}])").starts_with("--lora"));
}

TEST(JobJson, ErrorsNameFileAndKey) {
  Job job;
  EXPECT_EQ(test::error_of([&] {
              apply_json(job, {{"stepz", 5}}, "jobs.json");
            }),
            "jobs.json: unknown option \"stepz\" (did you mean steps?)");
  EXPECT_EQ(test::error_of([&] {
              apply_json(job, {{"steps", nlohmann::json::array()}}, "jobs.json");
            }),
            "jobs.json: \"steps\" must be a string, a number, true or false, got []");
  EXPECT_EQ(test::error_of([&] {
              apply_json(job, {{"steps", true}}, "jobs.json");
            }),
            "jobs.json: --steps wants a whole number from 1 to 1000, got \"true\"");
}

TEST(JobDefaults, FillOnlyWhatTheUserLeftOpen) {
  Job job, defaults;
  job.steps = 7;
  defaults.steps = 50;
  defaults.frames = 81;
  defaults.seed = 5;
  fill_unset(job, defaults);
  EXPECT_EQ(job.steps, 7);
  EXPECT_EQ(job.frames, 81);
  EXPECT_EQ(job.seed, -1);
  EXPECT_TRUE(is_model_default(find_job_option("steps")));
  EXPECT_FALSE(is_model_default(find_job_option("seed")));
  EXPECT_FALSE(is_model_default(find_job_option("size")));
}

}  // namespace
}  // namespace tessera
