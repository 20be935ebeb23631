// Videos that begin with a picture, and models with two denoisers, through the built program.
#include "tests/support/wan_images.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "media/frame_writer.h"
#include "media/image_io.h"
#include "media/picture.h"
#include "tests/support/process.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

const fs::path kPictures = test::fixture_folder() / "wan_images";

struct WanImagesApp : testing::Test {
  test::TemporaryFolder folder;

  fs::path model(const std::string& name) {
    const fs::path path = folder / name;
    if (!fs::exists(path)) test::write_image_model(path, name);
    return path;
  }

  test::ProcessResult generate(const std::string& name, std::vector<std::string> arguments) {
    std::vector<std::string> all = {"generate", "a red star", "--model", model(name), "--max-sequence-length",
                                    "32",       "--dtype",    "fp32",    "--frames",  "5",
                                    "--steps",  "2",          "--seed",  "3"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return test::tessera(all);
  }

  /// The frames that a run writes, [T, H, W, 3].
  at::Tensor frames(const std::string& name, std::vector<std::string> arguments) {
    const std::string pattern = folder / "made" / "%04d.png";
    arguments.insert(arguments.end(), {"-o", pattern});
    const test::ProcessResult result = generate(name, arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::vector<at::Tensor> all;
    for (int64_t i = 0; i < 5; ++i) all.push_back(read_picture(frame_path(pattern, i)));
    return at::stack(all);
  }

  void expect_refused(const std::string& name, const std::vector<std::string>& arguments,
                      const std::vector<std::string>& parts) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--quiet", "-o", folder / "no.mp4"});
    const test::ProcessResult result = generate(name, all);
    SCOPED_TRACE(result.err);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
    for (const std::string& part : parts) EXPECT_NE(result.err.find(part), std::string::npos) << part;
    EXPECT_FALSE(fs::exists(folder / "no.mp4"));
  }
};

TEST_F(WanImagesApp, AnotherPictureMakesAnotherVideo) {
  for (const std::string name : {"i2v", "a14b_i2v", "ti2v"}) {
    SCOPED_TRACE(name);
    const at::Tensor first = frames(name, {"--size", "48x32", "--image", kPictures / "first.png"});
    EXPECT_TRUE(frames(name, {"--size", "48x32", "--image", kPictures / "first.png"}).equal(first));
    EXPECT_FALSE(frames(name, {"--size", "48x32", "--image", kPictures / "last.png"}).equal(first));
    EXPECT_FALSE(
        frames(name, {"--size", "48x32", "--image", kPictures / "first.png", "--resize-mode", "pad"}).equal(first));
  }
  const at::Tensor both = frames(
      "a14b_i2v", {"--size", "48x32", "--image", kPictures / "first.png", "--last-image", kPictures / "last.png"});
  EXPECT_FALSE(frames("a14b_i2v", {"--size", "48x32", "--image", kPictures / "first.png"}).equal(both));
}

TEST_F(WanImagesApp, ARecipeNamesThePictureAndItsContent) {
  const test::ProcessResult result = generate("ti2v", {"--image", kPictures / "last.png", "--json", "--frames", "1",
                                                       "--steps", "1", "--size", "32x32", "-o", folder / "x.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json job = nlohmann::json::parse(result.out).at("job");
  EXPECT_EQ(job["image"]["path"], (kPictures / "last.png").string());
  EXPECT_EQ(job["image"]["sha256"].get<std::string>().size(), 64u);
}

TEST_F(WanImagesApp, WhatAModelDoesNotTakeIsOneLine) {
  const std::string picture = kPictures / "first.png";
  expect_refused("i2v", {}, {"makes videos from a picture", "--image FILE"});
  expect_refused("i2v", {"--image", picture, "--last-image", picture}, {"--last-image", "takes no such picture"});
  expect_refused("flf2v", {"--image", picture}, {"--last-image FILE"});
  expect_refused("a14b_t2v", {"--image", picture}, {"--image", "takes no such picture"});
  expect_refused("ti2v", {"--cfg-scale-2", "3"}, {"--cfg-scale-2", "two denoisers"});
  expect_refused("i2v", {"--image", folder / "none.png"}, {"--image", "none.png"});
  std::ofstream(folder / "text.png") << "no picture";
  expect_refused("i2v", {"--image", folder / "text.png"}, {"--image", "text.png"});
}

TEST_F(WanImagesApp, AModelWithoutItsImageEncoderIsRefused) {
  nlohmann::json index = nlohmann::json::parse(test::read_text(model("i2v") / "model_index.json"));
  index.erase("image_encoder");
  test::write_bytes(model("i2v") / "model_index.json", index.dump());
  expect_refused("i2v", {"--image", kPictures / "first.png"}, {"model_index.json", "image_encoder"});
}

TEST_F(WanImagesApp, ABatchNamesPicturesRelativeToItsFile) {
  fs::create_directories(folder / "jobs");
  fs::copy_file(kPictures / "first.png", folder / "jobs" / "a.png");
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
  fs::copy_file(kPictures / "last.png", folder / "jobs" / "a.png");
  EXPECT_EQ(batch({"--resume"}).err.find("is done already"), std::string::npos);
}

TEST_F(WanImagesApp, ARecipeMakesTheSameVideoAgain) {
  const std::string made = folder / "a.mp4", again = folder / "b.mp4";
  ASSERT_EQ(generate("a14b_i2v", {"--size", "48x32", "--image", kPictures / "first.png", "-o", made}).exit_code, 0);
  const test::ProcessResult second = test::tessera({"generate", "--from-file", made, "-o", again});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(second.err.find("pixels may differ"), std::string::npos) << second.err;
}

TEST_F(WanImagesApp, ConvertKeepsEveryPart) {
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

TEST_F(WanImagesApp, ALoraMayBeForOneExpert) {
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

TEST_F(WanImagesApp, InfoTellsWhatAModelTakes) {
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
