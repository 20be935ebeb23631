#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <csignal>

#include "core/cancel.h"
#include "core/json_config.h"
#include "tests/media/folder_test.h"
#include "tests/support/resume.h"
#include "training/denoiser_trainer.h"
#include "training/vae_trainer.h"
#include "weights/safetensors.h"
#include "weights/trained_on.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;
using test::expect_same_after_resume;

/// Tiny trainings in a temporary folder. Losses are of float32 runs on the CPU.
class Trainer : public test::FolderTest {
 protected:
  nlohmann::json vae_config() const {
    return {{"run", (folder / "vae_run").string()},
            {"output", (folder / "vae").string()},
            {"steps", 10},
            {"dtype", "fp32"},
            {"warmup", 0.0},
            {"model",
             {{"base_dim", 8},
              {"z_dim", 4},
              {"dim_mult", {1, 2}},
              {"num_res_blocks", 1},
              {"temperal_downsample", {true}},
              {"in_channels", 12},
              {"out_channels", 12},
              {"patch_size", 2}}},
            {"side", 32},
            {"frames", 5},
            {"crop", 16},
            {"stills_part", 0.5},
            {"still_batch", 4},
            {"clip_batch", 2}};
  }

  nlohmann::json denoiser_config() const {
    return {{"run", (folder / "denoiser_run").string()},
            {"vae", (folder / "vae").string()},
            {"output", (folder / "model").string()},
            {"steps", 10},
            {"dtype", "fp32"},
            {"side", 32},
            {"frames", 5},
            {"stills", 8},
            {"clips", 3},
            {"image_batch", 4},
            {"video_batch", 2},
            {"videos_from", 0.3},
            {"sample_steps", 2},
            {"text_encoder", {{"d_model", 16}, {"d_kv", 8}, {"d_ff", 16}, {"num_layers", 1}, {"num_heads", 2}}},
            {"transformer",
             {{"num_attention_heads", 2},
              {"attention_head_dim", 12},
              {"in_channels", 4},
              {"text_dim", 16},
              {"freq_dim", 16},
              {"ffn_dim", 32},
              {"num_layers", 2},
              {"attention", {{"kind", "mhla"}, {"block_layout", {3, 2, 2}}, {"lepe", true}}},
              {"position_embedding", {3, 4, 4}}}},
            {"generation_defaults", {{"width", 32}, {"height", 32}, {"frames", 5}}}};
  }

  std::filesystem::path write(const std::string& name, const nlohmann::json& config) const {
    std::ofstream(folder / name) << config.dump();
    return folder / name;
  }

  VaeTrainConfig vae(const std::string& run) const {
    nlohmann::json config = vae_config();
    config["run"] = (folder / run).string();
    return VaeTrainConfig::read(write(run + ".json", config));
  }

  DenoiserTrainConfig denoiser(const std::string& run) const {
    nlohmann::json config = denoiser_config();
    config["run"] = (folder / run).string();
    return DenoiserTrainConfig::read(write(run + ".json", config));
  }
};

/// The losses of the day these trainings were checked by eye; a percent for other processors' rounding.
void expect_known(const std::vector<double>& losses, const std::vector<double>& known) {
  for (size_t i = 0; i < known.size(); ++i) EXPECT_NEAR(losses[i], known[i], 0.01 * known[i]) << "step " << i;
}

TEST_F(Trainer, AutoencoderResumesExactly) {
  std::vector<double> losses;
  expect_same_after_resume<VaeTrainer>(vae("a"), vae("b"), losses);
  expect_known(losses,
               {1.181670, 1.319029, 1.323935, 1.019490, 1.327362, 1.385544, 1.216596, 0.920953, 0.924168, 1.475731});
}

TEST_F(Trainer, DenoiserResumesExactlyAndExportsAModel) {
  VaeTrainer(vae("vae_run")).train();
  std::vector<double> losses;
  expect_same_after_resume<DenoiserTrainer>(denoiser("a"), denoiser("b"), losses);
  expect_known(losses,
               {2.282448, 2.067908, 2.031911, 2.261503, 2.192038, 1.917106, 2.049667, 2.096006, 1.627496, 2.220044});
  DenoiserTrainer(denoiser("b")).train();
  EXPECT_TRUE(std::filesystem::exists(folder / "b/sheet.png"));

  const TrainedOn known = TrainedOn::read(JsonConfig::read(folder / "model/model_index.json")).value();
  EXPECT_EQ(known.sizes, std::vector<std::string>{"32x32"});
  EXPECT_EQ(known.frames, (std::vector<int64_t>{1, 5}));
  EXPECT_EQ(known.words.count("star"), 1u);

  const auto model = open_scene_model(folder / "model", at::kFloat);
  EXPECT_EQ(model->text_length, 24);
  SceneSampling sampling;
  sampling.frames = 5, sampling.height = sampling.width = 32, sampling.steps = 2;
  const auto clips = model->sample({"a red star on a blue background", "anything"}, {1, 2}, sampling);
  ASSERT_EQ(clips.size(), 2u);
  EXPECT_EQ(clips[0].sizes(), (std::vector<int64_t>{3, 5, 32, 32}));
  EXPECT_TRUE(clips[1].isfinite().all().item<bool>());
}

TEST_F(Trainer, SeveralSizesAndLengthsInOneRun) {
  VaeTrainer(vae("vae_run")).train();
  nlohmann::json config = denoiser_config();
  for (const char* key : {"stills", "clips", "image_batch", "video_batch"}) config.erase(key);
  config["scene_sizes"] = {{{"width", 32}, {"height", 32}, {"count", 4}, {"batch", 2}, {"share", 2}},
                           {{"width", 48}, {"height", 32}, {"count", 3}, {"batch", 1}},
                           {{"width", 32}, {"height", 48}, {"frames", 3}, {"count", 2}, {"batch", 1}},
                           {{"width", 32}, {"height", 32}, {"frames", 7}, {"count", 2}, {"batch", 1}}};
  config["videos_from"] = 0.4;
  const auto read = [&](const std::string& run) {
    config["run"] = (folder / run).string();
    return DenoiserTrainConfig::read(write(run + ".json", config));
  };
  std::vector<double> losses;
  expect_same_after_resume<DenoiserTrainer>(read("a"), read("b"), losses);
  for (const double loss : losses) EXPECT_TRUE(loss > 0.2 && loss < 20) << loss;
  for (const char* file : {"32x32x1", "48x32x1", "32x48x3", "32x32x7"})
    EXPECT_TRUE(std::filesystem::exists(folder / "a" / ("latents_" + std::string(file) + ".safetensors"))) << file;
  DenoiserTrainer(read("b")).train();
  const TrainedOn known = TrainedOn::read(JsonConfig::read(folder / "model/model_index.json")).value();
  EXPECT_EQ(known.sizes, (std::vector<std::string>{"32x32", "32x48", "48x32"}));
  EXPECT_EQ(known.frames, (std::vector<int64_t>{1, 3, 7}));

  config["scene_sizes"][1]["width"] = 36;  // 9 latent columns, no whole number of patches
  EXPECT_TRUE(contains(error_of([&] { DenoiserTrainer{read("c")}; }), "a scene of 36x32 does not fit"));
  config["scene_sizes"][1]["width"] = 32;
  EXPECT_TRUE(contains(error_of([&] { read("c"); }), "listed twice, 32x32"));
  config["scene_sizes"].erase(1);
  config["scene_sizes"].erase(0);
  EXPECT_TRUE(contains(error_of([&] { read("c"); }), "1 frame"));
  config["stills"] = 5;
  EXPECT_TRUE(contains(error_of([&] { read("c"); }), "scene_sizes"));
}

TEST_F(Trainer, AStopSaysWhatWasKeptAndHowToContinue) {
  VaeTrainer trainer(vae("stopped"));
  install_signal_handlers();
  std::raise(SIGINT);
  const std::string told = test::coded_error_of([&] { trainer.train(); });
  reset_canceled();
  EXPECT_EQ(told, "130: stopped after 1 step, all of them kept in " +
                      (folder / "stopped/checkpoint.safetensors").string() + "; the same command continues from there");
  EXPECT_EQ(VaeTrainer(vae("stopped")).steps_done(), 1);
}

TEST_F(Trainer, WhatIsWrittenIsMeasuredWithTheTrainedWeights) {
  // The first sheet packs the weights of the first step for the fast convolutions; the statistics of the latents need
  // the last ones. A second run only measures and writes.
  nlohmann::json config = vae_config();
  config["dtype"] = "bf16";
  const auto trained = VaeTrainConfig::read(write("vae.json", config));
  VaeTrainer(trained).train();
  const nlohmann::json at_once = JsonConfig::read(folder / "vae/config.json").json();
  VaeTrainer(trained).train();
  EXPECT_EQ(JsonConfig::read(folder / "vae/config.json").json(), at_once);
}

TEST_F(Trainer, DecoderAloneKeepsTheLatents) {
  VaeTrainer(vae("first")).train();
  nlohmann::json config = vae_config();
  config["start"] = (folder / "vae").string();
  config["train_encoder"] = false;
  config["output"] = (folder / "sharper").string();
  VaeTrainer(VaeTrainConfig::read(write("decoder.json", config))).train();
  const TensorFile before = read_safetensors(folder / "vae/diffusion_pytorch_model.safetensors");
  const TensorFile after = read_safetensors(folder / "sharper/diffusion_pytorch_model.safetensors");
  for (const auto& [name, tensor] : before.tensors()) {
    const bool decoder = name.starts_with("decoder.conv_in.") || name == "post_quant_conv.weight";
    if (decoder) {
      EXPECT_FALSE(at::equal(tensor, after.at(name))) << name;
    }
    if (name.starts_with("encoder.") || name.starts_with("quant_conv.")) {
      EXPECT_TRUE(at::equal(tensor, after.at(name))) << name;
    }
  }
  const auto statistics = [&](const char* name) {
    return read_json_object(folder / name / "config.json")["latents_std"];
  };
  EXPECT_EQ(statistics("vae"), statistics("sharper"));
  const nlohmann::json colors = read_json_object(folder / "vae/config.json")["latent_rgb_factors"];
  EXPECT_EQ(colors.size(), 4u);
  EXPECT_EQ(colors, read_json_object(folder / "sharper/config.json")["latent_rgb_factors"]);
}

TEST_F(Trainer, HostileConfigsAreOneClearLine) {
  const auto vae_error = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json config = vae_config();
    config[key] = value;
    return error_of([&] { VaeTrainConfig::read(write("bad.json", config)); });
  };
  EXPECT_TRUE(contains(vae_error("learning_rat", 1), "learning_rate"));
  EXPECT_TRUE(contains(vae_error("steps", "many"), "steps"));
  EXPECT_TRUE(contains(vae_error("minutes", 5), "only one"));
  EXPECT_TRUE(contains(vae_error("dtype", "fp8"), "bf16 or fp32"));
  EXPECT_TRUE(contains(vae_error("crop", 18), "multiple of 4"));
  EXPECT_TRUE(contains(vae_error("frames", 4), "multiple of 2"));
  EXPECT_TRUE(contains(vae_error("train_encoder", false), "start"));
  EXPECT_TRUE(contains(vae_error("model", 3), "model"));
  const auto denoiser_error = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json config = denoiser_config();
    config[key] = value;
    return error_of([&] { DenoiserTrainConfig::read(write("bad.json", config)); });
  };
  EXPECT_TRUE(contains(denoiser_error("video_par", 0.5), "video_part"));
  EXPECT_TRUE(contains(denoiser_error("video_part", 1.5), "[0, 1]"));
  EXPECT_TRUE(contains(denoiser_error("text_encoder", "big"), "text_encoder"));
  EXPECT_TRUE(contains(denoiser_error("frames", 1), "videos_from"));
  EXPECT_TRUE(contains(error_of([&] { DenoiserTrainer{denoiser("c")}; }), "vae")) << "no such autoencoder";
}

}  // namespace
}  // namespace tessera
