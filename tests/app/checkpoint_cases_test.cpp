// Checkpoints as people have them: incomplete, damaged, of another kind. info, generate and convert say the same of
// each.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"
#include "tests/support/wan_release.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::contains;
using test::ProcessResult;
using Tensors = std::map<std::string, at::Tensor>;

const fs::path kPipeline = test::fixture_folder() / "wan_pipeline" / "pipeline";

class CheckpointCases : public testing::Test {
 protected:
  CheckpointCases() {
    fs::copy(kPipeline, model(), fs::copy_options::recursive);
    fs::create_directory(out());
  }

  fs::path model() const { return folder_ / "model"; }
  fs::path out() const { return folder_ / "out"; }
  fs::path weights(const std::string& part) const {
    return model() / part / (part == "text_encoder" ? "model.safetensors" : "diffusion_pytorch_model.safetensors");
  }

  static ProcessResult info(const fs::path& path) { return test::tessera({"info", "--json", path}); }
  ProcessResult convert(const fs::path& path) const {
    return test::tessera({"convert", path, out() / "converted", "--quiet"});
  }
  ProcessResult generate(const fs::path& path) const {
    return test::tessera({"generate", "a star", "--model", path, "--max-sequence-length", "64", "--size", "32x32",
                          "--frames", "1", "--steps", "1", "--seed", "1", "--quiet", "-o", out() / "x.png"});
  }

  /// All three name every part; info says that it does not run, the others end with 2 and leave nothing.
  void expect_named(const fs::path& path, const std::vector<std::string>& parts) const {
    const ProcessResult shown = info(path);
    EXPECT_EQ(shown.exit_code, 0) << shown.err;
    if (shown.exit_code == 0) {
      EXPECT_EQ(json::parse(shown.out).at("supported"), false);
    }
    const ProcessResult converted = convert(path), rendered = generate(path);
    for (const ProcessResult& result : {converted, rendered}) {
      EXPECT_EQ(result.exit_code, 2) << result.err;
      EXPECT_EQ(result.out, "");
      EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    }
    const std::string told = shown.exit_code == 0 ? json::parse(shown.out).dump() : shown.err;
    for (std::string part : parts) {
      EXPECT_TRUE(contains(rendered.err, part)) << part << " in generate: " << rendered.err;
      EXPECT_TRUE(contains(converted.err, part)) << part << " in convert: " << converted.err;
      const std::string quoted = json(part).dump();
      part = quoted.substr(1, quoted.size() - 2);
      EXPECT_TRUE(contains(told, part)) << part << " in info: " << told;
    }
    for (const ProcessResult& result : {shown, converted, rendered}) {
      EXPECT_LT(result.peak_kilobytes, 900'000);
      EXPECT_LT(result.cpu_seconds, 30);
    }
    EXPECT_EQ(test::listing(out()), std::vector<std::string>{});
  }
  void expect_named(const std::vector<std::string>& parts) const { expect_named(model(), parts); }

  void edit_config(const std::string& part, const std::string& key, const json& value) const {
    const fs::path file = model() / part / (part == "scheduler" ? "scheduler_config.json" : "config.json");
    json object = json::parse(test::read_text(file));
    object[key] = value;
    test::write_bytes(file, object.dump());
  }
  void edit_weights(const std::string& part, const std::function<void(Tensors&)>& edit) const {
    Tensors tensors = read_safetensors(weights(part)).tensors();
    for (auto& [name, tensor] : tensors) tensor = tensor.clone();
    edit(tensors);
    write_safetensors(weights(part), tensors);
  }

  test::TemporaryFolder folder_;
};

TEST_F(CheckpointCases, AConfigOfMoreOrFewerLayers) {
  edit_config("transformer", "num_layers", 3);
  expect_named({weights("transformer").string(), "missing blocks.2.attn1.to_q.weight"});
  edit_config("transformer", "num_layers", 1);
  expect_named({weights("transformer").string(), "unexpected blocks.1.attn1.norm_k.weight"});
}

TEST_F(CheckpointCases, ConfigsThatAskForTooMuch) {
  edit_config("transformer", "num_layers", 1'000'000);
  expect_named({"transformer/config.json", "\"num_layers\" must lie between 1 and 1024, got 1000000"});
  edit_config("transformer", "num_layers", 2);
  edit_config("vae", "base_dim", 1'000'000'000);
  expect_named({"vae/config.json", "\"base_dim\" must lie between"});
  edit_config("vae", "base_dim", json::parse(test::read_text(kPipeline / "vae/config.json")).at("base_dim"));
  edit_config("scheduler", "num_train_timesteps", 1'000'000'000);
  const ProcessResult shown = info(model());
  EXPECT_TRUE(contains(shown.out, "num_train_timesteps")) << shown.out << shown.err;
  EXPECT_EQ(generate(model()).exit_code, 2);
}

TEST_F(CheckpointCases, EveryPartIsChecked) {
  edit_weights("transformer", [](Tensors& tensors) { tensors.erase("blocks.1.ffn.net.0.proj.bias"); });
  edit_weights("vae", [](Tensors& tensors) { tensors["decoder.conv_in.bias"] = at::zeros({7}); });
  edit_weights("text_encoder", [](Tensors& tensors) {
    at::Tensor& first = tensors.at("encoder.final_layer_norm.weight");
    first = first.to(at::kChar);
  });
  expect_named({weights("transformer").string(), "missing blocks.1.ffn.net.0.proj.bias", weights("vae").string(),
                "decoder.conv_in.bias is [7]", weights("text_encoder").string(),
                "encoder.final_layer_norm.weight holds Char, want floating-point numbers"});
}

TEST_F(CheckpointCases, DownloadsThatNeverEnded) {
  test::write_bytes(weights("vae").string() + ".aria2", "x");
  expect_named({weights("vae").string() + " is an unfinished download", ".aria2"});
  fs::remove(weights("vae").string() + ".aria2");
  edit_weights("vae", [](Tensors& tensors) {
    for (auto& [name, tensor] : tensors) tensor.zero_();
  });
  expect_named({weights("vae").string(), "nothing but zeros"});
  test::write_bytes(weights("vae"), std::string(100'000, '\0'));
  expect_named({weights("vae").string(), "never filled"});
  fs::rename(weights("vae"), weights("vae").string() + ".crdownload");
  EXPECT_TRUE(contains(info(model()).out, ".crdownload is an unfinished download"));
  EXPECT_TRUE(contains(generate(model()).err, ".crdownload is an unfinished download"));
}

/// Wan's own release: config.json of WanModel, and in its place of the transformer's weights something else.
class ReleaseCases : public CheckpointCases {
 protected:
  ReleaseCases() {
    test::WanRelease release(kPipeline);
    release.write(release_folder());
    fs::remove(release_folder() / "diffusion_pytorch_model.safetensors");
    transformer = release.transformer();
  }
  fs::path release_folder() const { return folder_ / "Wan2.1-T2V-1.3B"; }
  fs::path file() const { return release_folder() / "model.safetensors"; }

  Tensors transformer;
};

TEST_F(ReleaseCases, AMissingTensorIsNamed) {
  for (const char* name :
       {"blocks.1.ffn.0.bias", "head.modulation", "time_projection.1.weight", "patch_embedding.weight"}) {
    Tensors damaged = transformer;
    damaged.erase(name);
    write_safetensors(file(), damaged);
    const auto ours = wan_transformer_names(2);
    expect_named(release_folder(), {file().string(), "missing " + ours.at(name)});
  }
}

TEST_F(ReleaseCases, WhatIsNoTransformerIsNamed) {
  test::write_bytes(file(), "Invalid username or password.");
  expect_named(release_folder(),
               {file().string(), "it is text (\"Invalid username or password.\")", "download it again"});
  fs::remove(file());
  test::write_bytes(release_folder() / "model.gguf", std::string("GGUF\x03\0\0\0\x07", 9) + std::string(500, '\0'));
  expect_named(release_folder(), {"model.gguf", "a tensor has a name of 0 bytes"});
  fs::remove(release_folder() / "model.gguf");
  Tensors lora;
  for (const char* layer : {"q", "k", "v", "o"})
    for (const char* half : {"A", "B"})
      lora[std::string("diffusion_model.blocks.0.self_attn.") + layer + ".lora_" + half + ".weight"] = at::ones({2, 2});
  write_safetensors(file(), lora);
  expect_named(release_folder(), {file().string(), "it is a LoRA", "merge it"});
  expect_named(file(), {"it is a LoRA"});
  Tensors scaled = transformer;
  scaled["blocks.0.self_attn.q.scale_weight"] = at::ones({1});
  write_safetensors(file(), scaled);
  expect_named(release_folder(),
               {file().string(), "layer blocks.0.self_attn.q has a scale, but its weight holds Float"});
  write_safetensors(file(), transformer);
  test::write_bytes(file().string() + ".aria2", "x");
  expect_named(release_folder(), {file().string() + " is an unfinished download"});
}

/// Wan's own transformer folder in the place of diffusers': names and config of the release, the same pixels.
TEST_F(CheckpointCases, TheReleasesTransformerInAPipelineDirectory) {
  ASSERT_EQ(generate(model()).exit_code, 0);
  const at::Tensor as_diffusers = read_picture(out() / "x.png");
  fs::remove(out() / "x.png");
  const test::WanRelease release(model());
  const Tensors tensors = release.transformer();
  const std::string config = release.config().dump();
  fs::remove_all(model() / "transformer");
  fs::create_directory(model() / "transformer");
  test::write_bytes(model() / "transformer/config.json", config);
  write_safetensors(model() / "transformer/model.safetensors", tensors);
  const ProcessResult rendered = generate(model());
  ASSERT_EQ(rendered.exit_code, 0) << rendered.err;
  EXPECT_TRUE(at::equal(read_picture(out() / "x.png"), as_diffusers));
  fs::remove(out() / "x.png");
  fs::remove(model() / "transformer/model.safetensors");
  test::write_bytes(model() / "transformer/model.gguf", "GGUF");
  expect_named({"model.gguf is truncated or damaged", "download or copy it again"});
}

TEST_F(CheckpointCases, ADenoiserWrappedByTrainingCodeRuns) {
  const ProcessResult plain = generate(model());
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  const at::Tensor picture = read_picture(out() / "x.png");
  edit_weights("transformer", [](Tensors& tensors) {
    Tensors wrapped;
    for (const auto& [name, tensor] : tensors)
      wrapped["module._orig_mod." +
              (name.starts_with("blocks.1.") ? "blocks.1._fsdp_wrapped_module." + name.substr(9) : name)] = tensor;
    tensors = wrapped;
  });
  fs::remove(out() / "x.png");
  const json shown = json::parse(info(model()).out);
  EXPECT_EQ(shown.at("supported"), true) << shown;
  EXPECT_TRUE(contains(shown.at("notes").dump(), "_orig_mod., _fsdp_wrapped_module., module.")) << shown.at("notes");
  const ProcessResult result = generate(model());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(at::equal(read_picture(out() / "x.png"), picture));
}

TEST_F(CheckpointCases, AModelInTheCacheOfTheHub) {
  const fs::path cached = folder_ / "models--Wan-AI--Wan2.1-T2V-1.3B-Diffusers", snapshot = cached / "snapshots/0fad7a";
  fs::create_directories(cached / "blobs");
  test::write_bytes(cached / "refs/main", "0fad7a");
  int number = 0;
  for (const std::string& name : test::listing(model())) {
    if (fs::is_directory(model() / name)) continue;
    const fs::path blob = cached / "blobs" / std::to_string(number++);
    fs::rename(model() / name, blob);
    fs::create_directories((snapshot / name).parent_path());
    fs::create_symlink(blob, snapshot / name);
  }
  for (const fs::path& path : {cached, snapshot}) {
    const json shown = json::parse(info(path).out);
    EXPECT_EQ(shown.at("supported"), true) << shown;
    const ProcessResult rendered = generate(path);
    EXPECT_EQ(rendered.exit_code, 0) << rendered.err;
    fs::remove(out() / "x.png");
  }
  const ProcessResult converted = convert(cached);
  EXPECT_EQ(converted.exit_code, 0) << converted.err;
  EXPECT_TRUE(
      fs::is_regular_file(fs::symlink_status(out() / "converted/transformer/diffusion_pytorch_model.safetensors")));
}

}  // namespace
}  // namespace tessera
