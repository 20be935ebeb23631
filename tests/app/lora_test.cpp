#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"

// LoRAs through the built binary, with the bundled model: float32, small and few steps.
namespace tessera {
namespace {

using nlohmann::json;
using test::contains;
using test::ProcessResult;
using Tensors = std::map<std::string, at::Tensor>;

struct LoraCommand : testing::Test {
  test::TemporaryFolder folder;

  static void SetUpTestSuite() { setenv("OMP_NUM_THREADS", "1", 1); }

  static std::vector<std::string> settings() { return {"--size", "32x32", "--steps", "2", "--dtype", "fp32"}; }

  /// generate of one picture.
  ProcessResult generate(const std::string& name, std::vector<std::string> more,
                         const std::string& prompt = "a red star on a white background") const {
    more.insert(more.begin(), {"generate", prompt, "--frames", "1", "--seed", "3", "-o", folder / name});
    const std::vector<std::string> rest = settings();
    more.insert(more.end(), rest.begin(), rest.end());
    return test::tessera(more);
  }

  ProcessResult batch(const std::string& prompts, std::vector<std::string> more, const std::string& name = "p.json",
                      const std::string& out = "out") const {
    test::write_bytes(folder / name, prompts);
    more.insert(more.begin(), {"batch", folder / name, "-o", folder / out, "--frames", "1", "--seed", "3"});
    const std::vector<std::string> rest = settings();
    more.insert(more.end(), rest.begin(), rest.end());
    return test::tessera(more);
  }

  std::string bytes(const std::string& name) const { return test::read_text(folder / name); }
  bool same_pixels(const std::string& a, const std::string& b) const {
    return at::equal(read_picture(folder / a), read_picture(folder / b));
  }

  /// Random pairs for the first blocks of the bundled transformer under kohya's names.
  std::string transformer_lora(const std::string& name, uint64_t seed) const {
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
    Tensors tensors;
    for (const std::string block : {"0", "3"})
      for (const std::string layer : {"self_attn_q", "self_attn_v", "cross_attn_o"}) {
        const std::string key = "lora_unet_blocks_" + block + "_" + layer;
        tensors[key + ".lora_down.weight"] = at::randn({4, 192}, generator);
        tensors[key + ".lora_up.weight"] = at::randn({192, 4}, generator);
        tensors[key + ".alpha"] = at::scalar_tensor(1.0f);
      }
    std::filesystem::create_directories((folder / name).parent_path());
    write_safetensors(folder / name, tensors);
    return folder / name;
  }
};

TEST_F(LoraCommand, ChangesThePictureAndStrengthZeroIsNone) {
  const std::string lora = transformer_lora("a.safetensors", 1);
  ASSERT_EQ(generate("none.png", {}).exit_code, 0);
  const ProcessResult result = generate("one.png", {"--lora", lora});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(contains(result.err, "warning: " + lora + " was trained for softmax attention")) << result.err;
  EXPECT_TRUE(contains(result.err, "of 2 layers that it changes (0, 3)")) << result.err;
  EXPECT_FALSE(same_pixels("none.png", "one.png"));
  ASSERT_EQ(generate("half.png", {"--lora", lora + ":0.5"}).exit_code, 0);
  EXPECT_FALSE(same_pixels("half.png", "one.png"));
  ASSERT_EQ(generate("zero.png", {"--lora", lora + ":0"}).exit_code, 0);
  EXPECT_EQ(bytes("zero.png"), bytes("none.png"));
  // A stack is a sum: once is as good as two halves, up to rounding.
  ASSERT_EQ(generate("halves.png", {"--lora", lora + ":0.5", "--lora", lora + ":0.5"}).exit_code, 0);
  const at::Tensor one = read_picture(folder / "one.png").to(at::kFloat);
  EXPECT_LE((read_picture(folder / "halves.png").to(at::kFloat) - one).abs().max().item<float>(), 1);
  EXPECT_FALSE(same_pixels("halves.png", "half.png"));
}

TEST_F(LoraCommand, OfTheTextEncoderCounts) {
  const std::string lora = folder / "text.safetensors";
  write_safetensors(lora, {{"text_encoder.encoder.block.0.layer.0.SelfAttention.v.lora_A.weight", at::ones({1, 128})},
                           {"text_encoder.encoder.block.0.layer.0.SelfAttention.v.lora_B.weight", at::ones({128, 1})}});
  ASSERT_EQ(generate("none.png", {}).exit_code, 0);
  const ProcessResult result = generate("text.png", {"--lora", lora});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_FALSE(same_pixels("none.png", "text.png"));
  const std::string both = json::array({{{"prompt", "a red star on a white background"}, {"id", "a"}},
                                        {{"prompt", "a red star on a white background"}, {"id", "b"}, {"loras", lora}}})
                               .dump();
  ASSERT_EQ(batch(both, {}).exit_code, 0);
  EXPECT_EQ(bytes("out/a.png"), bytes("none.png"));
  EXPECT_EQ(bytes("out/b.png"), bytes("text.png"));
}

TEST_F(LoraCommand, TheRecipeHoldsItByContent) {
  const std::string lora = transformer_lora("a.safetensors", 1);
  ASSERT_EQ(generate("a.png", {"--lora", lora + ":0.75"}).exit_code, 0);
  const auto again = [&](const std::string& name, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"generate", "--from-file", folder / "a.png", "-o", folder / name};
    all.insert(all.end(), more.begin(), more.end());
    return test::tessera(all);
  };
  const ProcessResult same = again("b.png");
  ASSERT_EQ(same.exit_code, 0) << same.err;
  EXPECT_EQ(bytes("a.png"), bytes("b.png"));
  EXPECT_FALSE(contains(same.err, "differ")) << same.err;
  const json shown = json::parse(test::tessera({"info", "--json", folder / "a.png"}).out);
  const json& used = shown.at("job").at("loras").at(0);
  EXPECT_EQ(used.at("path"), lora);
  EXPECT_EQ(used.at("strength"), 0.75);
  EXPECT_EQ(used.at("sha256").get<std::string>().size(), 64u);
  // Another LoRA on the command line replaces those of the recipe.
  const std::string other = transformer_lora("other.safetensors", 2);
  ASSERT_EQ(again("c.png", {"--lora", other}).exit_code, 0);
  EXPECT_FALSE(same_pixels("a.png", "c.png"));
  transformer_lora("a.safetensors", 2);
  const ProcessResult changed = again("d.png");
  ASSERT_EQ(changed.exit_code, 0) << changed.err;
  EXPECT_TRUE(contains(changed.err, lora + " has changed since the recipe was made")) << changed.err;
  EXPECT_FALSE(same_pixels("a.png", "d.png"));
  std::filesystem::remove(lora);
  const ProcessResult gone = again("e.png");
  EXPECT_EQ(gone.exit_code, 2);
  EXPECT_TRUE(contains(gone.err, "made with the LoRA " + lora + ", which was not found")) << gone.err;
}

TEST_F(LoraCommand, TakesTheScheduleOfItsMetadata) {
  const std::string lora = folder / "four.safetensors";
  write_safetensors(lora,
                    {{"lora_unet_blocks_0_self_attn_q.lora_down.weight", at::ones({1, 192})},
                     {"lora_unet_blocks_0_self_attn_q.lora_up.weight", at::ones({192, 1})}},
                    {{"denoising_step_list", "[1000, 500]"}, {"sample_shift", "5"}, {"enable_cfg", "False"}});
  const auto job_of = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> all = {"generate", "a star", "--frames", "1", "--size", "32x32", "--lora", lora};
    all.insert(all.end(), {"-o", folder / name});
    all.insert(all.end(), more.begin(), more.end());
    const ProcessResult result = test::tessera(all);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(contains(result.err, lora + " has a schedule in its metadata"), more.empty()) << result.err;
    return json::parse(test::tessera({"info", "--json", folder / name}).out).at("job");
  };
  const json own = job_of("own.png", {});
  EXPECT_EQ(own.at("sigmas"), "1.0,0.5");
  EXPECT_EQ(own.at("flow_shift"), 5);
  EXPECT_EQ(own.at("cfg_scale"), 1);
  EXPECT_EQ(own.at("steps"), 2);
  const json other = job_of("other.png", {"--steps", "3", "--flow-shift", "2", "--cfg-scale", "2"});
  EXPECT_EQ(other.at("steps"), 3);
  EXPECT_EQ(other.at("flow_shift"), 2);
  EXPECT_FALSE(other.contains("sigmas"));
}

TEST_F(LoraCommand, ABatchSwitchesBetweenSetsAndBack) {
  const std::string a = transformer_lora("a.safetensors", 1), b = transformer_lora("b.safetensors", 2);
  const json prompts = {{"prompts",
                         {{{"id", "1"}, {"prompt", "a star"}, {"loras", {{{"path", a}, {"strength", 0.5}}}}},
                          {{"id", "2"}, {"prompt", "a star"}},
                          {{"id", "3"}, {"prompt", "a star"}, {"loras", {{{"path", b}}, a + ":-1"}}},
                          {{"id", "4"}, {"prompt", "a star"}, {"lora", a + ":0.5"}},
                          {{"id", "5"}, {"prompt", "a star"}, {"seed", 4}}}}};
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--batch-size", "3"}, {"--workers", "2"}}) {
    std::filesystem::remove_all(folder / "out");
    const ProcessResult result = batch(prompts.dump(), more);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    if (more.empty()) {
      ASSERT_EQ(generate("1.png", {"--lora", a + ":0.5"}, "a star").exit_code, 0);
      ASSERT_EQ(generate("2.png", {}, "a star").exit_code, 0);
      ASSERT_EQ(generate("3.png", {"--lora", b, "--lora", a + ":-1"}, "a star").exit_code, 0);
    }
    for (const std::string name : {"1.png", "2.png", "3.png"}) EXPECT_EQ(bytes("out/" + name), bytes(name)) << name;
    EXPECT_EQ(bytes("out/4.png"), bytes("1.png"));
    EXPECT_FALSE(same_pixels("out/5.png", "2.png"));
  }
}

TEST_F(LoraCommand, ResumeNoticesTheContentAndNotThePath) {
  const std::string a = transformer_lora("a.safetensors", 1);
  const auto prompts = [](const std::string& path) {
    return json::array({{{"id", "with"}, {"prompt", "a star"}, {"loras", {{{"path", path}}}}},
                        {{"id", "without"}, {"prompt", "a star"}}})
        .dump();
  };
  ASSERT_EQ(batch(prompts(a), {}).exit_code, 0);
  EXPECT_TRUE(contains(batch(prompts(a), {"--resume"}).err, "2 jobs are done already"));
  const std::string moved = transformer_lora("elsewhere/b.safetensors", 1);
  EXPECT_TRUE(contains(batch(prompts(moved), {"--resume"}).err, "2 jobs are done already"));
  const std::string before = bytes("out/with.png");
  transformer_lora("a.safetensors", 2);
  const ProcessResult changed = batch(prompts(a), {"--resume"});
  EXPECT_TRUE(contains(changed.err, "1 job is done already")) << changed.err;
  EXPECT_TRUE(contains(changed.err, "1 rendered")) << changed.err;
  EXPECT_NE(bytes("out/with.png"), before);
}

TEST_F(LoraCommand, TagsInPromptsComeFromTheFolder) {
  const std::string a = transformer_lora("loras/style.safetensors", 1);
  transformer_lora("loras/deep/other.safetensors", 2);
  const std::string dir = (folder / "loras").string();
  ASSERT_EQ(generate("want.png", {"--lora", a + ":0.5"}, "a star").exit_code, 0);
  const ProcessResult direct = generate("got.png", {"--lora-dir", dir}, "a star <lora:style:0.5>");
  ASSERT_EQ(direct.exit_code, 0) << direct.err;
  EXPECT_EQ(bytes("got.png"), bytes("want.png"));
  EXPECT_FALSE(contains(direct.err, "literal")) << direct.err;
  EXPECT_TRUE(
      contains(generate("text.png", {}, "a star <lora:style:0.5>").err, "no LoRA is loaded without --lora-dir"));
  const std::string a1111 =
      "a star <lora:style:0.5>\nNegative prompt: rain\nSteps: 2, Sampler: Euler, Seed: 3, "
      "Lora hashes: \"style: 12\"\n\na star <lora:style:1> <lora:other:-0.5>\nSteps: 2, Seed: 3\n";
  const ProcessResult refused = batch(a1111, {}, "p.txt");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(contains(refused.err, "--lora-dir DIR loads it")) << refused.err;
  const ProcessResult result = batch(a1111, {"--lora-dir", dir}, "p.txt");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto recipe = [&](const std::string& name) {
    return json::parse(test::tessera({"info", "--json", folder / name}).out).at("job");
  };
  EXPECT_EQ(recipe("out/000000.png").at("prompt"), "a star");
  EXPECT_EQ(recipe("out/000000.png").at("loras").at(0).at("strength"), 0.5);
  EXPECT_EQ(recipe("out/000001.png").at("loras").size(), 2u);
  for (const auto& [prompt, problem] :
       std::vector<std::pair<std::string, std::string>>{{"a <lora:stile:1>", "did you mean style"},
                                                        {"a <lora:style:x>", "want a number behind the name"},
                                                        {"a <lora:style:1:2>", "one strength"},
                                                        {"a <lora:style:1e9>", "want a strength from -100 to 100"},
                                                        {"a <lora:>", "want a name"},
                                                        {"a <lora:../a:1>", "no such file in --lora-dir"}}) {
    const ProcessResult wrong = generate("x.png", {"--lora-dir", dir}, prompt);
    EXPECT_EQ(wrong.exit_code, 2) << prompt;
    EXPECT_TRUE(contains(wrong.err, problem)) << wrong.err;
    EXPECT_TRUE(contains(batch(prompt, {"--lora-dir", dir, "--overwrite"}, "w.txt").err, "line 1: <lora:")) << prompt;
  }
}

TEST_F(LoraCommand, WhatDoesNotFitIsOneLine) {
  const auto refusal = [&](const Tensors& tensors) {
    write_safetensors(folder / "x.safetensors", tensors);
    const ProcessResult result = generate("x.png", {"--lora", folder / "x.safetensors"});
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    return result.err;
  };
  const std::string layer = "transformer.blocks.0.attn1.to_q";
  EXPECT_TRUE(contains(refusal({{layer + ".diff", at::ones({5120, 2})}}), "the LoRA is for another model"));
  EXPECT_TRUE(contains(refusal({{"lora_unet_down_blocks_0.diff", at::ones({2})}}), "changes nothing in this model"));
  EXPECT_TRUE(contains(refusal({{"a.weight", at::ones({2})}}), "is not a LoRA"));
  EXPECT_FALSE(std::filesystem::exists(folder / "x.png"));
  const ProcessResult missing = generate("x.png", {"--lora", folder / "none.safetensors"});
  EXPECT_EQ(missing.exit_code, 2);
  const ProcessResult strength = generate("x.png", {"--lora", "a.safetensors:1000"});
  EXPECT_TRUE(contains(strength.err, "--lora wants a strength from -100 to 100, got \"1000\"")) << strength.err;
  const ProcessResult classes =
      test::tessera({"generate", "--model", test::fixture_folder() / "dit_pipeline" / "pipeline", "--class", "1",
                     "--lora", "a.safetensors", "-o", folder / "x.png"});
  EXPECT_EQ(classes.exit_code, 2);
  EXPECT_TRUE(contains(classes.err, "--lora does not apply to this model")) << classes.err;
}

TEST_F(LoraCommand, InfoDescribesIt) {
  const std::string lora = transformer_lora("a.safetensors", 1);
  const ProcessResult text = test::tessera({"info", lora});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  for (const char* part :
       {": LoRA, ", "rank       4 (6 layers); alpha / rank 0.25", "lora_unet_blocks_N_self_attn_q x 2"})
    EXPECT_TRUE(contains(text.out, part)) << part << text.out;
  const json described = json::parse(test::tessera({"info", "--json", lora}).out);
  EXPECT_EQ(described.at("kind"), "LoRA");
  EXPECT_EQ(described.at("ranks"), json({{"4", 6}}));
  EXPECT_TRUE(contains(test::tessera({"info", "--tensors", lora}).out, "lora_unet_blocks_0_self_attn_q.alpha"));
}

}  // namespace
}  // namespace tessera
