// tessera samplers, and what samplers, schedules, guidance and the step cache do to a picture, on the built program.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "media/png_text.h"
#include "samplers/registry.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;
using test::TemporaryFolder;

const fs::path kModel = test::fixture_folder() / "wan_pipeline" / "pipeline";

/// One small picture of the fixture's model, quick unless told otherwise.
ProcessResult generate(const std::vector<std::string>& more, const fs::path& model = kModel) {
  std::vector<std::string> all = {"generate",
                                  "a red star",
                                  "--model",
                                  model.string(),
                                  "--max-sequence-length",
                                  "64",
                                  "--dtype",
                                  "fp32",
                                  "--size",
                                  "32x48",
                                  "--frames",
                                  "1",
                                  "--seed",
                                  "3"};
  all.insert(all.end(), more.begin(), more.end());
  return test::tessera(all);
}

at::Tensor pixels(const fs::path& file) {
  return read_picture(file).to(at::kInt);
}

void expect_refused(const std::vector<std::string>& more, const std::string& part, const fs::path& model = kModel) {
  const TemporaryFolder folder;
  std::vector<std::string> all = {"-q", "-o", folder / "x.png"};
  all.insert(all.end(), more.begin(), more.end());
  const ProcessResult result = generate(all, model);
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{});
}

/// A copy of the fixture's model whose scheduler is another.
class OtherScheduler : public testing::Test {
 protected:
  OtherScheduler() { fs::copy(kModel, model(), fs::copy_options::recursive); }
  fs::path model() const { return folder_ / "model"; }
  void set(const nlohmann::json& config) const {
    std::ofstream(model() / "scheduler" / "scheduler_config.json") << config.dump();
    auto index = nlohmann::json::parse(test::read_text(model() / "model_index.json"));
    index["scheduler"][1] = config.at("_class_name");
    std::ofstream(model() / "model_index.json") << index.dump();
  }
  void edit(const std::function<void(nlohmann::json&)>& change) const {
    auto config = nlohmann::json::parse(test::read_text(model() / "scheduler" / "scheduler_config.json"));
    change(config);
    set(config);
  }
  TemporaryFolder folder_;
};

TEST(Samplers, ListsEveryOneWithFamiliesAndAdvice) {
  const ProcessResult text = test::tessera({"samplers"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  const ProcessResult json = test::tessera({"samplers", "--json"});
  const auto all = nlohmann::json::parse(json.out);
  ASSERT_EQ(all.size(), samplers().size());
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].at("name"), samplers()[i].name);
    EXPECT_EQ(all[i].at("models").size(), samplers()[i].models.flow && samplers()[i].models.diffusion ? 2u : 1u);
    EXPECT_NE(text.out.find("  " + samplers()[i].name + " "), std::string::npos) << samplers()[i].name;
    EXPECT_NE(text.out.find(samplers()[i].advice), std::string::npos) << samplers()[i].name;
  }
  std::istringstream lines(text.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(Samplers, ShowsOneUnderAnyOfItsNames) {
  const ProcessResult one = test::tessera({"samplers", "DPM++ 2M"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  for (const char* part : {"dpmpp_2m:", "flow, diffusion", "solver_order 2, solver_type midpoint", "dpm-solver"})
    EXPECT_NE(one.out.find(part), std::string::npos) << part << "\n" << one.out;
  const auto json = nlohmann::json::parse(test::tessera({"samplers", "ddim", "--json"}).out);
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0].at("models"), nlohmann::json({"diffusion"}));
  const ProcessResult wrong = test::tessera({"samplers", "unipcc"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_EQ(wrong.err, "tessera: no sampler is called \"unipcc\" (did you mean unipc?)\n");
}

TEST(Samplers, WhatTheModelOrTheSamplerDoesNotHonorIsRefused) {
  expect_refused({"--sampler", "unipcc"}, "did you mean unipc?");
  expect_refused({"--sampler", "ddim"}, "use one of euler, unipc, dpmpp_2m, heun, dpmpp_2m_sde, sa_solver");
  expect_refused({"--sampler", "unipc", "--scheduler", "karras"},
                 "sampler unipc has no karras noise levels for flow-matching models: use --scheduler plain, or one of "
                 "the samplers euler, heun");
  expect_refused({"--scheduler", "karas"}, "did you mean karras?");
  expect_refused({"--scheduler", "UniPCMultistepScheduler"}, "use --sampler unipc");
  expect_refused({"--sampler", "euler", "--scheduler", "karras", "--sigmas", "1,0.5"}, "exclude each other");
  expect_refused({"--sigmas", "0.5,0.7"}, "--sigmas wants decreasing numbers");
  expect_refused({"--guidance-interval", "0.5"}, "--guidance-interval wants START:STOP");
  expect_refused({"--apg-eta", "0", "--cfg-zero"}, "APG and CFG-Zero* exclude each other");
  expect_refused({"--guidance-rescale", "1.5"}, "--guidance-rescale wants a number from 0 to 1");
  expect_refused({"--step-cache", "-0.1"}, "--step-cache wants a number from 0 to 10");
}

TEST_F(OtherScheduler, ACurveThatItsSamplerIgnoresIsRefused) {
  edit([](nlohmann::json& config) { config["use_karras_sigmas"] = true; });
  expect_refused({}, "sampler unipc has no karras noise levels for flow-matching models", model());
  const TemporaryFolder folder;
  const ProcessResult plain = generate({"--steps", "2", "--scheduler", "plain", "-o", folder / "x.png"}, model());
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
}

/// diffusers' own pictures: each scheduler class read from scheduler_config.json, the noise from the seed.
TEST_F(OtherScheduler, EverySamplerMakesThePictureOfDiffusers) {
  const fs::path golden = fs::path(TESSERA_SOURCE_DIR) / "tests" / "data" / "golden";
  const auto config = nlohmann::json::parse(test::read_text(golden / "sampler_pictures.json"));
  const TensorFile pictures = read_safetensors(golden / "sampler_pictures.safetensors");
  const auto& call = config.at("call");
  fs::remove_all(model());
  fs::copy(fs::path(TESSERA_DEFAULT_FIXTURES) / "wan_pipeline" / "pipeline", model(), fs::copy_options::recursive);
  std::set<std::string> seen;
  for (const auto& [name, scheduler] : config.at("schedulers").items()) {
    SCOPED_TRACE(name);
    set(scheduler);
    std::vector<std::string> arguments = {"generate", "--model", model(),  "--dtype", "fp32",
                                          "--frames", "1",       "--json", "-o",      folder_ / (name + ".png")};
    for (const auto& [key, value] : call.items()) {
      arguments.push_back("--" + key);
      arguments.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
    const ProcessResult result = test::tessera(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    seen.insert(nlohmann::json::parse(result.out).at("job").at("sampler").get<std::string>());
    const at::Tensor want = pictures.at(name).mul(255).round().to(at::kInt);
    const at::Tensor got = pixels(folder_ / (name + ".png"));
    ASSERT_EQ(got.sizes(), want.sizes());
    // A value within rounding of a boundary may fall on either side of it.
    EXPECT_LE((got - want).abs().max().item<int>(), 1);
    EXPECT_LE((got != want).sum().item<int64_t>(), want.numel() / 500);
  }
  for (const auto& name : sampler_names(/*flow=*/true)) EXPECT_EQ(seen.count(name), 1u) << name;
}

TEST_F(OtherScheduler, FlagsOverrideTheSchedulersConfig) {
  const TemporaryFolder folder;
  const auto render = [&](const std::string& name, std::vector<std::string> more) {
    more.insert(more.end(), {"-q", "--steps", "3", "-o", folder / name});
    const ProcessResult result = generate(more, model());
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return pixels(folder / name);
  };
  const at::Tensor euler = render("flag.png", {"--sampler", "euler", "--flow-shift", "5"});
  set({{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 5.0}});
  EXPECT_TRUE(at::equal(render("config.png", {}), euler));
  EXPECT_FALSE(at::equal(render("shift.png", {"--flow-shift", "2"}), euler));
  const at::Tensor karras = render("karras.png", {"--scheduler", "karras"});
  EXPECT_FALSE(at::equal(karras, euler));
  set({{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 5.0}, {"use_karras_sigmas", true}});
  EXPECT_TRUE(at::equal(render("config_karras.png", {}), karras));
  EXPECT_TRUE(at::equal(render("plain.png", {"--scheduler", "plain"}), euler));
}

TEST_F(OtherScheduler, ADynamicShiftFollowsTheSizeUnlessOverridden) {
  const TemporaryFolder folder;
  const nlohmann::json dynamic = {{"_class_name", "FlowMatchEulerDiscreteScheduler"},
                                  {"use_dynamic_shifting", true},
                                  {"time_shift_type", "linear"},
                                  {"base_image_seq_len", 4},  // 32x48 pixels are 6 tokens
                                  {"max_image_seq_len", 8},
                                  {"base_shift", 1.0},
                                  {"max_shift", 5.0}};
  set(dynamic);
  const ProcessResult own = generate({"--json", "--steps", "3", "-o", folder / "own.png"}, model());
  ASSERT_EQ(own.exit_code, 0) << own.err;
  EXPECT_FALSE(nlohmann::json::parse(own.out).at("job").contains("flow_shift"));
  EXPECT_NE(read_png_text(test::read_text(folder / "own.png"), "the PNG").at("parameters").find("Flow shift: dynamic"),
            std::string::npos);
  // The shift is linear in the tokens: 1 + (6 - 4) / (8 - 4) * (5 - 1) = 3, on noise levels that are not shifted
  // before.
  const ProcessResult levels = generate(
      {"--flow-shift", "3", "--sigmas", "1,0.5005,0.001", "--steps", "3", "-o", folder / "levels.png"}, model());
  ASSERT_EQ(levels.exit_code, 0) << levels.err;
  EXPECT_LE((pixels(folder / "own.png") - pixels(folder / "levels.png")).abs().max().item<int>(), 1);
  const ProcessResult info = test::tessera({"info", model()});
  EXPECT_NE(info.out.find("flow shift dynamic"), std::string::npos) << info.out;
}

TEST(Sampling, ExplicitSigmasSetTheStepsAndAreKeptInTheRecipe) {
  const TemporaryFolder folder;
  const ProcessResult result = generate({"--sigmas", "1, 0.8,0.4,0", "--json", "-o", folder / "x.png"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto job = nlohmann::json::parse(result.out).at("job");
  EXPECT_EQ(job.at("steps"), 3);
  EXPECT_EQ(job.at("sigmas"), "1, 0.8,0.4,0");
  EXPECT_NE(
      read_png_text(test::read_text(folder / "x.png"), "the PNG").at("parameters").find("Sigmas: \"1, 0.8,0.4,0\""),
      std::string::npos);
}

TEST(Presets, AreListedAsTheOptionsTheyStandFor) {
  const ProcessResult text = test::tessera({"samplers", "--presets"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("--sampler lcm --sigmas 1.0,0.75,0.5,0.25 --flow-shift 5.0 --cfg-scale 1.0"),
            std::string::npos)
      << text.out;
  const auto json = nlohmann::json::parse(test::tessera({"samplers", "fast-wan", "--presets", "--json"}).out);
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0].at("timesteps"), nlohmann::json({1000.0, 757.0, 522.0}));
  EXPECT_EQ(test::tessera({"samplers", "unipc", "--presets"}).exit_code, 2);
}

TEST(Presets, MakeThePictureOfTheirOptionsAndOfTheirRecipe) {
  const TemporaryFolder folder;
  const ProcessResult result = generate({"--preset", "lightx2v", "--json", "-o", folder / "x.png"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto report = nlohmann::json::parse(result.out);
  EXPECT_EQ(report.at("job").at("preset"), "lightx2v");
  EXPECT_EQ(report.at("job").at("cfg_scale"), 1.0);
  EXPECT_EQ(report.at("step_cache").at("calls"), 4);
  ASSERT_EQ(generate({"--sampler", "lcm", "--sigmas", "1,0.75,0.5,0.25", "--flow-shift", "5", "--cfg-scale", "1", "-o",
                      folder / "y.png"})
                .exit_code,
            0);
  EXPECT_TRUE(at::equal(pixels(folder / "x.png"), pixels(folder / "y.png")));
  const auto again = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {"generate", "--json", "--from-file", folder / "x.png", "-o", folder / "z.png"};
    all.insert(all.end(), more.begin(), more.end());
    const ProcessResult made = test::tessera(all);
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return nlohmann::json::parse(made.out).at("job");
  };
  again({});
  EXPECT_TRUE(at::equal(pixels(folder / "x.png"), pixels(folder / "z.png")));
  const auto other = again({"--preset", "causvid"});
  EXPECT_EQ(other.at("timesteps"), "1000.0,757.0,522.0");
  EXPECT_FALSE(other.contains("sigmas"));
  const auto steps = again({"--steps", "3"});
  EXPECT_FALSE(steps.contains("preset"));
  EXPECT_FALSE(steps.contains("sigmas"));
  EXPECT_EQ(steps.at("steps"), 3);
  expect_refused({"--preset", "fastwan", "--steps", "5"}, "preset fastwan has the timesteps of its 3 steps");
  expect_refused({"--timesteps", "1000,500"}, "sampler unipc takes no explicit timesteps: use one of euler, heun, lcm");
}

TEST(Sampling, GuidanceOptionsChangeThePictureAndAreInTheRecipe) {
  const TemporaryFolder folder;
  ASSERT_EQ(generate({"--steps", "4", "-o", folder / "plain.png"}).exit_code, 0);
  const at::Tensor plain = pixels(folder / "plain.png");
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"Guidance rescale: 0.7", {"--guidance-rescale", "0.7"}},
      {"Guidance interval: \"0:0.5\"", {"--guidance-interval", "0:0.5"}},
      {"Apg eta: 0.0", {"--apg-eta", "0"}},
      {"Apg momentum: -0.5", {"--apg-momentum", "-0.5"}},
      {"Cfg zero: true", {"--cfg-zero"}},
      {"Cfg zero steps: 2", {"--zero-init-steps", "2"}}};
  for (const auto& [recipe, flags] : cases) {
    SCOPED_TRACE(recipe);
    std::vector<std::string> more = flags;
    more.insert(more.end(), {"--steps", "4", "-o", folder / "x.png"});
    const ProcessResult result = generate(more);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_FALSE(at::equal(pixels(folder / "x.png"), plain));
    EXPECT_NE(read_png_text(test::read_text(folder / "x.png"), "the PNG").at("parameters").find(recipe),
              std::string::npos);
  }
}

TEST(StepCaching, SparesCallsAndSaysHowMany) {
  const TemporaryFolder folder;
  const auto render = [&](const std::string& threshold, const std::string& name) {
    const ProcessResult result = generate({"--steps", "20", "--step-cache", threshold, "--json", "-o", folder / name});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    auto report = nlohmann::json::parse(result.out).at("step_cache");
    EXPECT_EQ(report.at("calls"), 20);
    const std::string line = "step cache: " + report.at("reused").dump() + " of 20 network calls skipped";
    EXPECT_NE(result.err.find(line), std::string::npos) << result.err;
    return report;
  };
  EXPECT_EQ(render("0", "off.png").at("reused"), 0);
  ASSERT_EQ(generate({"--steps", "20", "-o", folder / "none.png"}).exit_code, 0);
  EXPECT_TRUE(at::equal(pixels(folder / "off.png"), pixels(folder / "none.png")));
  const auto some = render("0.1", "some.png"), many = render("0.5", "many.png");
  EXPECT_GT(some.at("reused"), 0);
  EXPECT_GT(many.at("reused"), some.at("reused"));
  EXPECT_LT(some.at("largest_change"), 0.1);
  EXPECT_LE(some.at("mean_change"), some.at("largest_change"));
}

TEST(Sampling, ASeedGivesOnePictureForAnyCount) {
  const TemporaryFolder folder;
  for (const auto& name : sampler_names(/*flow=*/true)) {
    SCOPED_TRACE(name);
    const std::vector<std::string> common = {"-q", "--sampler", name, "--steps", "3", "--step-cache", "0.2"};
    std::vector<std::string> three = common, alone = common;
    three.insert(three.end(), {"--count", "3", "-o", folder / (name + ".png")});
    alone.insert(alone.end(), {"--seed", "5", "-o", folder / (name + "_alone.png")});
    ASSERT_EQ(generate(three).exit_code, 0);
    ASSERT_EQ(generate(alone).exit_code, 0);
    EXPECT_TRUE(at::equal(pixels(folder / (name + "_2.png")), pixels(folder / (name + "_alone.png"))));
    EXPECT_FALSE(at::equal(pixels(folder / (name + "_1.png")), pixels(folder / (name + "_alone.png"))));
  }
}

TEST_F(OtherScheduler, ValuesThatAreNotFiniteNameStepAndTensor) {
  const fs::path weights = model() / "transformer" / "diffusion_pytorch_model.safetensors";
  const auto with_bias = [&](double bias) {
    auto tensors = read_safetensors(kModel / "transformer" / "diffusion_pytorch_model.safetensors").tensors();
    for (auto& [key, tensor] : tensors) tensor = tensor.clone();
    tensors.at("proj_out.bias").fill_(bias);
    write_safetensors(weights, tensors);
    return generate({"--steps", "4", "--sampler", "euler", "-o", folder_ / "x.png"}, model());
  };
  const ProcessResult result = with_bias(std::numeric_limits<float>::max());  // finite, but the second call overflows
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_NE(result.err.find("the model's prediction is not finite after step 2 of 4 (timestep 857."), std::string::npos)
      << result.err;
  EXPECT_FALSE(fs::exists(folder_ / "x.png"));
}

}  // namespace
}  // namespace tessera
