// Videos that begin with a picture, and models with two denoisers, through the built program.
#include "tests/support/wan_images_app.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

struct WanImages : test::WanImagesApp {};

TEST_F(WanImages, AnotherPictureMakesAnotherVideo) {
  for (const std::string name : {"i2v", "a14b_i2v", "ti2v"}) {
    SCOPED_TRACE(name);
    const at::Tensor first = frames(name, {"--size", "48x32", "--image", pictures / "first.png"});
    EXPECT_TRUE(frames(name, {"--size", "48x32", "--image", pictures / "first.png"}).equal(first));
    EXPECT_FALSE(frames(name, {"--size", "48x32", "--image", pictures / "last.png"}).equal(first));
    EXPECT_FALSE(
        frames(name, {"--size", "48x32", "--image", pictures / "first.png", "--resize-mode", "pad"}).equal(first));
  }
  const at::Tensor both =
      frames("a14b_i2v", {"--size", "48x32", "--image", pictures / "first.png", "--last-image", pictures / "last.png"});
  EXPECT_FALSE(frames("a14b_i2v", {"--size", "48x32", "--image", pictures / "first.png"}).equal(both));
}

TEST_F(WanImages, ARecipeNamesThePictureAndItsContent) {
  const test::ProcessResult result = generate("ti2v", {"--image", pictures / "last.png", "--json", "--frames", "1",
                                                       "--steps", "1", "--size", "32x32", "-o", folder / "x.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json job = nlohmann::json::parse(result.out).at("job");
  EXPECT_EQ(job["image"]["path"], (pictures / "last.png").string());
  EXPECT_EQ(job["image"]["sha256"].get<std::string>().size(), 64u);
}

TEST_F(WanImages, WhatAModelDoesNotTakeIsOneLine) {
  const std::string picture = pictures / "first.png";
  expect_refused("i2v", {}, {"makes videos from a picture", "--image FILE"});
  expect_refused("i2v", {"--image", picture, "--last-image", picture}, {"--last-image", "takes no such picture"});
  expect_refused("flf2v", {"--image", picture}, {"--last-image FILE"});
  expect_refused("a14b_t2v", {"--image", picture}, {"--image", "takes no such picture"});
  expect_refused("ti2v", {"--cfg-scale-2", "3"}, {"--cfg-scale-2", "two denoisers"});
  expect_refused("i2v", {"--image", folder / "none.png"}, {"--image", "none.png"});
  std::ofstream(folder / "text.png") << "no picture";
  expect_refused("i2v", {"--image", folder / "text.png"}, {"--image", "text.png"});
}

TEST_F(WanImages, AModelWithoutItsImageEncoderIsRefused) {
  nlohmann::json index = nlohmann::json::parse(test::read_text(model("i2v") / "model_index.json"));
  index.erase("image_encoder");
  test::write_bytes(model("i2v") / "model_index.json", index.dump());
  expect_refused("i2v", {"--image", pictures / "first.png"}, {"model_index.json", "image_encoder"});
}

TEST_F(WanImages, ABatchNamesPicturesRelativeToItsFile) {
  fs::create_directories(folder / "jobs");
  fs::copy_file(pictures / "first.png", folder / "jobs" / "a.png");
  std::ofstream(folder / "jobs" / "p.json") << R"({"defaults": {"size": "48x32", "frames": 5, "steps": 2,
    "max_sequence_length": 32}, "prompts": [{"id": "one", "prompt": "a star", "image": "a.png", "seed": 3}]})";
  const auto batch = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {
        "batch", folder / "jobs" / "p.json", "--model", model("i2v"), "--output", folder / "out", "--dtype", "fp32"};
    all.insert(all.end(), more.begin(), more.end());
    return test::tessera(all);
  };
  const test::ProcessResult first = batch({});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_NE(batch({"--resume"}).err.find("1 job is done already"), std::string::npos);
  fs::remove(folder / "jobs" / "a.png");
  fs::copy_file(pictures / "last.png", folder / "jobs" / "a.png");
  EXPECT_EQ(batch({"--resume"}).err.find("is done already"), std::string::npos);
}

TEST_F(WanImages, ARecipeMakesTheSameVideoAgain) {
  const std::string made = folder / "a.mp4", again = folder / "b.mp4";
  ASSERT_EQ(generate("a14b_i2v", {"--size", "48x32", "--image", pictures / "first.png", "-o", made}).exit_code, 0);
  const test::ProcessResult second = test::tessera({"generate", "--from-file", made, "-o", again});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(second.err.find("pixels may differ"), std::string::npos) << second.err;
}

TEST_F(WanImages, ConvertKeepsEveryPart) {
  for (const std::string name : {"i2v", "a14b_i2v", "ti2v"}) {
    SCOPED_TRACE(name);
    const fs::path made = folder / (name + "_bf16");
    const test::ProcessResult result = test::tessera({"convert", model(name), made, "--dtype", "bf16"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto index = [](const fs::path& path) {
      nlohmann::json read = nlohmann::json::parse(test::read_text(path / "model_index.json"));
      read.erase("_diffusers_version");
      return read;
    };
    const nlohmann::json before = index(model(name)), after = index(made);
    for (const auto& [key, value] : before.items()) EXPECT_EQ(after.value(key, nlohmann::json()), value) << key;
    EXPECT_EQ(test::tessera({"info", made, "--json"}).exit_code, 0);
  }
}

TEST_F(WanImages, ALoraMayBeForOneExpert) {
  const std::string lora = folder / "lora.safetensors";
  write_safetensors(lora, {{"transformer.blocks.0.ffn.net.0.proj.lora_A.weight", at::full({2, 24}, 0.5)},
                           {"transformer.blocks.0.ffn.net.0.proj.lora_B.weight", at::full({40, 2}, 0.5)}});
  const auto with = [&](const std::string& expert) {
    const std::string use = expert.empty() ? lora : R"([{"path": ")" + lora + R"(", "expert": ")" + expert + R"("}])";
    return frames("a14b_t2v", {"--size", "48x32", "--lora", use});
  };
  const at::Tensor plain = frames("a14b_t2v", {"--size", "48x32"}), high = with("high"), low = with("low");
  EXPECT_FALSE(high.equal(plain));
  EXPECT_FALSE(low.equal(plain));
  EXPECT_FALSE(high.equal(low));
  EXPECT_FALSE(with("").equal(high));
  expect_refused("ti2v", {"--lora", R"([{"path": ")" + lora + R"(", "expert": "low"}])"}, {"two denoisers"});
}

TEST_F(WanImages, InfoTellsWhatAModelTakes) {
  for (const std::string name : {"i2v", "flf2v", "a14b_t2v", "a14b_i2v", "ti2v"}) {
    SCOPED_TRACE(name);
    const test::ProcessResult info = test::tessera({"info", model(name), "--json"});
    EXPECT_EQ(info.exit_code, 0) << info.err;
    const nlohmann::json said = nlohmann::json::parse(info.out);
    EXPECT_EQ(said["supported"], true) << info.out;
    EXPECT_EQ(said.value("notes", nlohmann::json::array()).dump().find("--image") != std::string::npos,
              name != "a14b_t2v");
  }
}

}  // namespace
}  // namespace tessera
