#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;

/// A copy of the fixture's model to damage, and a folder for output that must stay empty.
class BadInput : public testing::Test {
 protected:
  BadInput() {
    fs::copy(test::fixture_folder() / "wan_pipeline" / "pipeline", model(), fs::copy_options::recursive);
    fs::create_directory(out());
  }

  fs::path model() const { return folder_ / "model"; }
  fs::path out() const { return folder_ / "out"; }
  fs::path weights(const std::string& part) const {
    return model() / part / (part == "text_encoder" ? "model.safetensors" : "diffusion_pytorch_model.safetensors");
  }

  ProcessResult generate(const std::vector<std::string>& arguments, long limit_file_bytes = 0) const {
    std::vector<std::string> all = {"generate", "--model", model(), "--max-sequence-length",
                                    "64",       "--size",  "32x32", "--frames",
                                    "1",        "--steps", "1",     "--seed",
                                    "1",        "--quiet"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return test::tessera(all, {}, limit_file_bytes);
  }

  /// One clear line on stderr that holds every part, nothing on stdout, no file.
  void expect_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) const {
    const ProcessResult result = generate(arguments);
    SCOPED_TRACE(result.err);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err.rfind("tessera: ", 0), 0u);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
    for (const auto& part : parts) EXPECT_NE(result.err.find(part), std::string::npos) << "no \"" << part << "\"";
    EXPECT_EQ(test::listing(out()), std::vector<std::string>{});
  }
  void expect_model_refused(const std::vector<std::string>& parts) const {
    expect_refused({"a star", "-o", out() / "x.png"}, parts);
  }

  void edit_json(const fs::path& file, const std::function<void(nlohmann::json&)>& edit) const {
    nlohmann::json object = nlohmann::json::parse(test::read_text(model() / file));
    edit(object);
    std::ofstream(model() / file) << object.dump(2);
  }
  /// Rewrites a part's weights with one tensor changed.
  void edit_tensor(const std::string& part, const std::string& name,
                   const std::function<at::Tensor(const at::Tensor&)>& edit) const {
    auto tensors = read_safetensors(weights(part)).tensors();
    for (auto& [key, tensor] : tensors) tensor = tensor.clone();
    tensors.at(name) = edit(tensors.at(name));
    write_safetensors(weights(part), tensors);
  }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(BadInput, TheUndamagedCopyRuns) {
  const ProcessResult result = generate({"a star", "-o", out() / "x.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(BadInput, NoSuchModel) {
  expect_refused({"a star", "--model", "/no/such/model", "-o", out() / "x.png"}, {"no such model: /no/such/model"});
  expect_refused({"a star", "--model", out(), "-o", out() / "x.png"}, {"no model_index.json"});
}

TEST_F(BadInput, MissingFiles) {
  for (const std::string part : {"transformer", "vae", "text_encoder"}) {
    const std::string kept = test::read_text(weights(part));
    fs::remove(weights(part));
    expect_model_refused({(model() / part).string(), "no weights"});
    std::ofstream(weights(part), std::ios::binary) << kept;
  }
  fs::remove(model() / "tokenizer" / "spiece.model");
  expect_model_refused({"spiece.model"});
}

TEST_F(BadInput, MissingConfigsAndFolders) {
  fs::remove(model() / "vae" / "config.json");
  expect_model_refused({"vae", "config.json"});
  fs::remove_all(model() / "vae");
  expect_model_refused({"missing folder", "vae"});
}

TEST_F(BadInput, TruncatedFiles) {
  for (const std::string part : {"transformer", "vae", "text_encoder"}) {
    const std::string kept = test::read_text(weights(part));
    fs::resize_file(weights(part), kept.size() / 2);
    expect_model_refused({weights(part).string()});
    fs::resize_file(weights(part), 4);
    expect_model_refused({weights(part).string()});
    std::ofstream(weights(part), std::ios::binary) << kept;
  }
  fs::resize_file(model() / "transformer" / "config.json", 30);
  expect_model_refused({"transformer/config.json is not valid JSON"});
}

TEST_F(BadInput, MisshapenTensors) {
  edit_tensor("vae", "decoder.conv_in.bias", [](const at::Tensor& bias) { return at::cat({bias, bias}); });
  expect_model_refused({weights("vae").string(), "decoder.conv_in.bias is [32], want [16]"});
}

TEST_F(BadInput, NotANumberInTheWeights) {
  for (const auto& [part, name] : {std::pair{"transformer", "proj_out.bias"},
                                   {"vae", "decoder.conv_in.bias"},
                                   {"text_encoder", "encoder.final_layer_norm.weight"}}) {
    const std::string kept = test::read_text(weights(part));
    edit_tensor(part, name,
                [](const at::Tensor& bias) { return at::full_like(bias, std::numeric_limits<double>::quiet_NaN()); });
    expect_model_refused({weights(part).string(), std::string(name) + " holds NaN or infinity"});
    std::ofstream(weights(part), std::ios::binary) << kept;
  }
}

TEST_F(BadInput, UnknownClasses) {
  edit_json("model_index.json", [](nlohmann::json& index) { index["transformer"][1] = "FluxTransformer2DModel"; });
  expect_model_refused(
      {"model_index.json: transformer: class FluxTransformer2DModel is not supported; want "
       "WanTransformer3DModel"});
  edit_json("model_index.json", [](nlohmann::json& index) { index["_class_name"] = "FluxPipeline"; });
  expect_model_refused({"class FluxPipeline is not supported; want DiTPipeline or WanPipeline"});
}

TEST_F(BadInput, UnknownScheduler) {
  edit_json("scheduler/scheduler_config.json",
            [](nlohmann::json& config) { config["_class_name"] = "BananaScheduler"; });
  edit_json("model_index.json", [](nlohmann::json& index) { index["scheduler"][1] = "BananaScheduler"; });
  expect_model_refused({"scheduler_config.json", "BananaScheduler"});
}

TEST_F(BadInput, KeysOfTheWrongType) {
  edit_json("transformer/config.json", [](nlohmann::json& config) { config["num_layers"] = "two"; });
  expect_model_refused({"transformer/config.json: \"num_layers\" must be a whole number, got \"two\""});
}

TEST_F(BadInput, PartsThatDoNotFitEachOther) {
  edit_json("transformer/config.json", [](nlohmann::json& config) { config["text_dim"] = 64; });
  expect_model_refused({weights("transformer").string(), "linear_1.weight is [48, 32], want [48, 64]"});
  edit_tensor("transformer", "condition_embedder.text_embedder.linear_1.weight", [](const at::Tensor& weight) {
    return at::cat({weight, weight}, 1);
  });
  expect_model_refused({"text_dim must be the text encoder's d_model, 32, got 64"});
}

TEST_F(BadInput, SizesThatTheModelDoesNotTake) {
  expect_refused({"a star", "--size", "100x64", "-o", out() / "x.png"},
                 {"size 100x64 does not fit this model", "the nearest is 96x64 or 112x64"});
}

TEST_F(BadInput, OptionsOfClassConditionalModels) {
  for (const std::string option : {"class", "eta", "cfg-channels", "vae", "block-size"})
    expect_refused({"a star", "-o", out() / "x.png", "--" + option, "1"}, {"--" + option, "class-conditional"});
}

TEST_F(BadInput, UnwritableOutputs) {
  std::ofstream(model() / "file") << "x";
  expect_refused({"a star", "-o", "/proc/no/such/x.png"}, {"cannot write /proc/no", "/proc"});
  expect_refused({"a star", "-o", model() / "file" / "x.png"}, {"is not a folder"});
  expect_refused({"a star", "-o", out()}, {"cannot tell the format"});
  expect_refused({"a star", "-o", "/proc/x.png"}, {"/proc/x.png"});
  expect_refused({"a star", "-o", "/dev/full"}, {"cannot tell the format"});
}

TEST_F(BadInput, UnknownFormatsAndPatterns) {
  expect_refused({"a star", "-o", out() / "x.tiff"}, {"cannot tell the format of", ".mp4"});
  expect_refused({"a star", "-o", out() / "f_%d.png"}, {"bad frame pattern"});
  expect_refused({"a star", "--frames", "5", "-o", out() / "x.png"}, {"holds one image, not 5 frames"});
}

TEST_F(BadInput, AWriteThatFailsLeavesNothing) {
  const ProcessResult result = generate({"a star", "--size", "128x128", "-o", out() / "x.png"}, 8192);
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.err.find("cannot write"), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(test::listing(out()), std::vector<std::string>{});
}

TEST_F(BadInput, ADiskWithoutRoomIsFoundBeforeTheWork) {
  const ProcessResult result =
      generate({"a star", "--size", "16384x16384", "--frames", "9997", "--count", "10000", "-o", out() / "f_%04d.png"});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.err.find("is full or nearly so"), std::string::npos) << result.err;
  EXPECT_EQ(test::listing(out()), std::vector<std::string>{});
}

TEST_F(BadInput, Precisions) {
  expect_refused({"a star", "--dtype", "float31", "-o", out() / "x.png"}, {"--dtype: unknown value \"float31\""});
  expect_refused({"a star", "--dtype", "half", "--device", "cpu", "-o", out() / "x.png"}, {"fp16 needs a GPU"});
  const ProcessResult result = generate({"a star", "--dtype", "float32", "--json", "-o", out() / "x.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("\"dtype\":\"fp32\""), std::string::npos) << result.out;
}

TEST_F(BadInput, Prompts) {
  const std::vector<std::string> output = {"-o", out() / "x.png"};
  const auto with = [&](const std::string& prompt) {
    return std::vector<std::string>{"-p", prompt, output[0], output[1]};
  };
  expect_refused(with(""), {"the prompt is empty"});
  expect_refused(output, {"the prompt is empty"});
  expect_refused(with("  "), {"the prompt is empty"});
  expect_refused(with(std::string(100'000, 'a')), {"the prompt has 100000 bytes, at most 65536 are allowed"});
  expect_refused(with("a \xFF star"), {"not UTF-8"});
}

TEST_F(BadInput, LatentsThatAreNot) {
  const fs::path file = model() / "noise.safetensors";
  write_safetensors(file, {{"a", at::zeros({1, 16, 1, 4, 4})},
                           {"narrow", at::zeros({1, 3, 1, 4, 4})},
                           {"bad", at::full({1, 16, 1, 4, 4}, std::numeric_limits<double>::quiet_NaN())}});
  const auto with = [&](const std::string& latents) {
    return std::vector<std::string>{"a star", "--latents", latents, "-o", out() / "x.png"};
  };
  expect_refused(with("/no/such.safetensors:a"), {"/no/such.safetensors"});
  expect_refused(with(file.string() + ":aa"), {"aa"});
  expect_refused(with(file.string()), {"say which"});
  expect_refused(with(file.string() + ":narrow"), {"want floating-point numbers [N, 16, frames, height, width]"});
  expect_refused(with(file.string() + ":bad"), {"NaN or infinity"});
  EXPECT_EQ(generate(with(file.string() + ":a")).exit_code, 0);
}

TEST_F(BadInput, AbsentDevices) {
  expect_refused({"a star", "--device", "cuda:99", "-o", out() / "x.png"}, {"--device cuda:99: "});
}

TEST_F(BadInput, BlackPicturesExitWith4AndKeepTheLatents) {
  edit_tensor("vae", "decoder.conv_out.weight", [](const at::Tensor& weight) { return at::zeros_like(weight); });
  edit_tensor("vae", "decoder.conv_out.bias", [](const at::Tensor& bias) { return at::full_like(bias, -1.0); });
  const ProcessResult result = generate({"a star", "-o", out() / "x.png"});
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_NE(result.err.find("x.png are black; the latents are kept in"), std::string::npos) << result.err;
  EXPECT_EQ(test::listing(out()), std::vector<std::string>{"x.png.latents.safetensors"});
  const TensorFile kept = read_safetensors(out() / "x.png.latents.safetensors");
  EXPECT_EQ(kept.at("latents").sizes(), at::IntArrayRef({1, 16, 1, 4, 4}));
}

}  // namespace
}  // namespace tessera
