#include "pipelines/file_recipe.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "checkpoints/fingerprint.h"
#include "core/error.h"
#include "core/version.h"
#include "media/image_io.h"
#include "pipelines/parameters_text.h"
#include "pipelines/recipe.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/fixture.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::refusal_of;

class FileRecipes : public testing::Test {
 protected:
  fs::path picture(const ImageText& text) {
    write_png(folder / "x.png", at::full({8, 8, 3}, 90, at::kByte), text);
    return folder / "x.png";
  }

  std::string parameters_refusal(const std::string& text) {
    return refusal_of([&] { job_from_parameters(text, "x.png", notes); });
  }

  Job parameters(const std::string& text) {
    notes.clear();
    return job_from_parameters(text, "x.png", notes);
  }

  std::vector<std::string> notes;
  test::TemporaryFolder folder;
};

Job full_job() {
  Job job;
  job.prompt = "a \"red\" star,\nSteps: 3, of stairs";
  job.negative_prompt = "rain, fog";
  job.width = 64;
  job.height = 32;
  job.frames = 5;
  job.fps = FrameRate{8, 1};
  job.steps = 3;
  job.cfg_scale = 4.5;
  job.flow_shift = 2.5;
  job.sampler = "dpmpp_2m";
  job.scheduler = "karras";
  job.sigmas = "1,0.5,0.25";
  job.guidance_interval = "0:0.8";
  job.apg_momentum = -0.5;
  job.step_cache = 0.05;
  job.seed = 77;
  return job;
}

TEST_F(FileRecipes, OurOwnTextGivesTheJobAgain) {
  Job job = full_job();
  job.model_fingerprint = model_fingerprint(job);
  const FileRecipe recipe =
      read_file_recipe(picture({{"tessera", output_recipe(job).dump()}, {"parameters", "not looked at"}}));
  EXPECT_EQ(recipe_json(recipe.job), recipe_json(job));
  EXPECT_EQ(recipe.version, program_version());
  EXPECT_EQ(recipe.model_fingerprint.size(), 64u);
  EXPECT_TRUE(reproduction_notes(recipe, job).empty());
}

TEST_F(FileRecipes, TheTextForPeopleGivesTheSameSettings) {
  const Job job = full_job();
  const FileRecipe recipe = read_file_recipe(picture({{"parameters", recipe_text(job)}}));
  EXPECT_EQ(recipe_json(recipe.job), recipe_json(job));
  EXPECT_TRUE(recipe.notes.empty()) << recipe.notes[0];
}

TEST_F(FileRecipes, PixelsMayBeDamagedTheRecipeMayNot) {
  const fs::path path = picture({{"tessera", output_recipe(full_job()).dump()}});
  std::string bytes = test::read_text(path);
  std::string pixels = bytes;
  pixels[pixels.find("IDAT") + 10] ^= 1;
  std::ofstream(path, std::ios::binary) << pixels;
  EXPECT_EQ(read_file_recipe(path).job.seed, 77);
  bytes[bytes.find("\"seed\"") + 8] ^= 1;
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_NE(refusal_of([&] { read_file_recipe(path); }).find("checksum"), std::string::npos);
  std::ofstream(path, std::ios::binary) << bytes.substr(0, bytes.size() - 20);
  EXPECT_NE(refusal_of([&] { read_file_recipe(path); }), "accepted");
}

TEST_F(FileRecipes, LatentsAndSequencesHaveTheirsToo) {
  write_safetensors(folder / "l.safetensors", {{"latents", at::zeros({1, 2})}},
                    {{"tessera", output_recipe(full_job()).dump()}});
  EXPECT_EQ(read_file_recipe(folder / "l.safetensors").job.seed, 77);
  write_png(folder / "f_0000.png", at::zeros({8, 8, 3}, at::kByte), {{"tessera", output_recipe(full_job()).dump()}});
  EXPECT_EQ(read_file_recipe(folder / "f_%04d.png").job.frames, 5);
  write_picture(folder / "x.jpg", at::zeros({8, 8, 3}, at::kByte), {{"tessera", output_recipe(full_job()).dump()}});
  EXPECT_EQ(read_file_recipe(folder / "x.jpg").job.seed, 77);
  write_picture(folder / "y.jpg", at::zeros({8, 8, 3}, at::kByte), {{"parameters", "a cat\nSteps: 20, Seed: 9"}});
  EXPECT_EQ(read_file_recipe(folder / "y.jpg").job.seed, 9);
}

TEST_F(FileRecipes, FilesWithoutARecipeAreRefused) {
  const auto refused = [&](const fs::path& path) { return refusal_of([&] { read_file_recipe(path); }); };
  EXPECT_NE(refused(picture({})).find("has no recipe"), std::string::npos);
  EXPECT_NE(refused(picture({{"tessera", "{}"}})).find("has no recipe"), std::string::npos);
  EXPECT_NE(refused(picture({{"tessera", "[1"}})).find("has no recipe"), std::string::npos);
  EXPECT_NE(refused(picture({{"tessera", R"({"job": {"stepz": 3}})"}})).find("steps"), std::string::npos);
  EXPECT_NE(refused(picture({{"tessera", R"({"job": {"steps": [3]}})"}})).find("steps"), std::string::npos);
  EXPECT_NE(refused(picture({{"tessera", R"({"job": {"steps": 0}})"}})).find("1 to 1000"), std::string::npos);
  EXPECT_NE(refused(picture({{"prompt", "{}"}, {"workflow", "{}"}})).find("ComfyUI"), std::string::npos);
  EXPECT_NE(refused(folder / "absent.png").find("no such file"), std::string::npos);
  EXPECT_NE(refused(folder.path()).find("is a folder"), std::string::npos);
  std::ofstream(folder / "x.json") << "{\"a\": 1}";
  EXPECT_NE(refused(folder / "x.json").find("a recipe is read from a PNG"), std::string::npos);
  std::ofstream(folder / "x.png") << "hello";
  EXPECT_NE(refused(folder / "x.png").find("x.png begins neither like a PNG nor like a JPEG"), std::string::npos);
  std::ofstream(folder / "x.jpg") << "\xFF\xD8\xFF\xE0 and so on";
  EXPECT_NE(refused(folder / "x.jpg").find("is cut short"), std::string::npos);
  write_picture(folder / "plain.jpg", at::zeros({8, 8, 3}, at::kByte));
  EXPECT_NE(refused(folder / "plain.jpg").find("has no recipe"), std::string::npos);
  std::ofstream(folder / "empty");
  EXPECT_NE(refused(folder / "empty"), "accepted");
  write_safetensors(folder / "l.safetensors", {{"latents", at::zeros({1})}});
  EXPECT_NE(refused(folder / "l.safetensors").find("has no recipe"), std::string::npos);
}

TEST_F(FileRecipes, TextOfOtherProgramsIsMapped) {
  const Job webui = parameters(
      "a cat, (fluffy:1.2)\non a sofa\nNegative prompt: rain,\nfog\nSteps: 20, Sampler: Euler, Schedule type: Karras, "
      "CFG scale: 7.5, Seed: 965400086, Size: 512x768, Model hash: c0ffee, Model: dreams, Version: v1.9.4");
  EXPECT_EQ(webui.prompt, "a cat, (fluffy:1.2)\non a sofa");
  EXPECT_EQ(webui.negative_prompt, "rain,\nfog");
  EXPECT_EQ(webui.steps, 20);
  EXPECT_EQ(webui.sampler, "Euler");
  EXPECT_EQ(webui.scheduler, "karras");
  EXPECT_EQ(webui.cfg_scale, 7.5);
  EXPECT_EQ(webui.seed, 965400086);
  EXPECT_EQ(webui.width, 512);
  EXPECT_EQ(webui.height, 768);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("another program (v1.9.4)"), std::string::npos);
  EXPECT_NE(notes[1].find("\"dreams\""), std::string::npos);

  const Job cpp = parameters(
      "a dog\nSteps: 4, CFG scale: 6.500000, Guidance: 3.500000, Eta: 0.000000, Seed: 42, Size: 64x32, Model: w.gguf, "
      "RNG: cuda, Sampler: euler simple, Version: stable-diffusion.cpp");
  EXPECT_EQ(cpp.prompt, "a dog");
  EXPECT_EQ(cpp.sampler, "euler");
  EXPECT_EQ(cpp.scheduler, "simple");
  EXPECT_EQ(cpp.cfg_scale, 6.5);
  EXPECT_NE(notes.back().find("another random generator"), std::string::npos);

  const Job levels = parameters(
      "a dog\nSteps: 3, CFG scale: 1.0, Seed: 42, Size: 64x32, Sampler: euler, Custom Sigmas: [1.0000, 0.5000, "
      "0.0000], "
      "Version: stable-diffusion.cpp");
  EXPECT_EQ(levels.sigmas, "1.0000,0.5000,0.0000");
  EXPECT_EQ(levels.flow_shift, 1.0);
  EXPECT_FALSE(levels.steps.has_value());
}

TEST_F(FileRecipes, WhatWouldBeIgnoredIsRefusedAllAtOnce) {
  const std::string text = parameters_refusal(
      "a cat <lora:fluff:0.8>\nSteps: 20, Sampler: Euler, Seed: 1, Denoising strength: 0.4, Clip skip: 2, "
      "Hires upscale: 2, Lora hashes: \"fluff: 12, x: 3\"");
  for (const char* part : {"<lora:", "\"Denoising strength: 0.4\"", "\"Clip skip: 2\"", "\"Hires upscale: 2\"",
                           "\"Lora hashes: fluff: 12, x: 3\"", "pass prompt and settings as options"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_NE(parameters_refusal("a cat").find("Steps:"), std::string::npos);
  EXPECT_NE(parameters_refusal("").find("Steps:"), std::string::npos);
  EXPECT_NE(parameters_refusal("a cat\nSteps: many, Seed: 1").find("whole number"), std::string::npos);
  EXPECT_NE(parameters_refusal("a cat\nSteps: 3, [[[\"").find("["), std::string::npos);
}

TEST_F(FileRecipes, OtherVersionsAndModelsAreTold) {
  const fs::path model = test::fixture_folder() / "wan_pipeline" / "pipeline";
  fs::copy(model, folder / "m", fs::copy_options::recursive);
  Job job = full_job();
  job.model = model;
  job.model_fingerprint = model_fingerprint(job);
  nlohmann::ordered_json made = output_recipe(job);
  made["version"] = "9.9";
  const FileRecipe recipe = read_file_recipe(picture({{"tessera", made.dump()}}));
  job.model = folder / "m";
  ASSERT_EQ(reproduction_notes(recipe, job).size(), 1u);  // a copy is the same model
  EXPECT_NE(reproduction_notes(recipe, job)[0].find("made by tessera 9.9"), std::string::npos);
  const fs::path weights = folder / "m" / "transformer" / "diffusion_pytorch_model.safetensors";
  std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-8, std::ios::end);
  file.write("\0\0\0\0\0\0\0\0", 8);
  file.close();
  EXPECT_EQ(reproduction_notes(recipe, job).size(), 2u);
  job.model = "absent";
  EXPECT_EQ(model_fingerprint(job), "");
}

}  // namespace
}  // namespace tessera
