#include "training/finetune.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>

#include "checkpoints/wan/loras.h"
#include "core/error.h"
#include "media/image_io.h"
#include "tests/media/folder_test.h"
#include "tests/support/fixture.h"
#include "tests/support/wan_images.h"
#include "training/linearize.h"
#include "training/prepare.h"
#include "training/scene_files.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;
using test::write_bytes;

/// A tiny pipeline of random weights, and a set of two pictures and two clips for it.
class Finetune : public test::FolderTest {
 protected:
  std::filesystem::path pipeline = test::fixture_folder() / "wan_pipeline/pipeline";

  void SetUp() override {
    for (const auto& [name, level] : {std::pair{"a", 40}, std::pair{"b", 200}})
      write_png(folder / (std::string(name) + ".png"), at::full({32, 48, 3}, level, at::kByte));
    std::string lines =
        "{\"image_path\": \"a.png\", \"caption\": \"dark\"}\n{\"image_path\": \"b.png\", \"caption\": \"light\"}\n";
    for (const auto& [name, frames] : {std::pair{"long", 12}, std::pair{"short", 3}}) {
      for (int frame = 0; frame < frames; ++frame) {
        const auto file = folder / name / (std::to_string(frame) + ".png");
        std::filesystem::create_directories(file.parent_path());
        write_png(file, at::full({32, 48, 3}, 20 * frame, at::kByte));
      }
      lines += std::string("{\"video_path\": \"") + name + "\", \"caption\": \"brighter\"}\n";
    }
    write_bytes(folder / "set.jsonl", lines);
  }

  PrepareRequest request() const {
    PrepareRequest request;
    request.model = pipeline;
    request.data = {folder / "set.jsonl"};
    request.cache = folder / "cache";
    request.size = {48, 32};
    request.frames = 5;
    request.dtype = "fp32";
    return request;
  }

  nlohmann::json config(const std::string& run, const std::string& output) const {
    return {{"model", pipeline.string()},
            {"cache", (folder / "cache").string()},
            {"run", (folder / run).string()},
            {"output", (folder / output).string()},
            {"dtype", "fp32"},
            {"steps", 6},
            {"learning_rate", 1e-3},
            {"batch", 2},
            {"accumulate", 2},
            {"validation", 0.3},
            {"validate_every", 2},
            {"log_every", 1}};
  }

  FinetuneConfig read(const nlohmann::json& json, TuneMethod method) const {
    return FinetuneConfig::from_json({json, "config"}, method);
  }
};

TEST_F(Finetune, PreparationSaysWhatItDroppedAndGoesOn) {
  const PrepareResult first = prepare_data(request());
  EXPECT_EQ(first.encoded, 4);  // two pictures, two clips of five frames from twelve
  EXPECT_EQ(first.kept, 0);
  ASSERT_EQ(first.cache.dropped.size(), 1u);
  EXPECT_EQ(first.cache.dropped[0].reason, "it is too short: 3 frames at 16 frames per second, want 5");
  ASSERT_EQ(first.notes.size(), 1u);
  EXPECT_TRUE(contains(first.notes[0], "its last 2 frames are not used"));

  const DataCache cache = DataCache::open(folder / "cache");
  ASSERT_EQ(cache.clips.size(), 4u);
  EXPECT_EQ(cache.clips[0].shape, (std::vector<int64_t>{16, 1, 4, 6}));
  EXPECT_EQ(cache.clips[2].shape, (std::vector<int64_t>{16, 2, 4, 6}));
  EXPECT_EQ(cache.text(cache.empty_text).size(0), cache.text_length);
  const at::Tensor before = cache.latents(cache.clips[3]);

  // One file lost, one damaged: these two are made again, the others are not.
  std::filesystem::remove(cache.latents_file(cache.clips[0].latents));
  write_bytes(cache.latents_file(cache.clips[1].latents), "not a tensor");
  const PrepareResult second = prepare_data(request());
  EXPECT_EQ(second.encoded, 2);
  EXPECT_EQ(second.kept, 2);
  EXPECT_TRUE(at::equal(second.cache.latents(second.cache.clips[3]), before));
}

TEST_F(Finetune, DamagedFilesAreAnErrorUnlessTheyAreSkipped) {
  write_bytes(folder / "b.png", "\x89PNG\r\n\x1a\nbut no picture");
  const std::string told = error_of([&] { prepare_data(request()); });
  EXPECT_TRUE(contains(told, "1 file cannot be read; all others are in the cache"));
  EXPECT_TRUE(contains(told, "b.png"));
  PrepareRequest skipping = request();
  skipping.skip_damaged = true;
  const PrepareResult result = prepare_data(skipping);
  EXPECT_EQ(result.kept, 3);
  EXPECT_EQ(result.cache.dropped.size(), 2u);
}

TEST_F(Finetune, WhatAKillOrADiskDamagedIsMadeAgain) {
  const DataCache cache = prepare_data(request()).cache;
  write_bytes(cache.text_file(cache.empty_text), "no tensor");
  for (const auto& entry : std::filesystem::directory_iterator(folder / "cache/items"))
    write_bytes(entry.path(), "{\"clips\": [");
  const PrepareResult again = prepare_data(request());
  EXPECT_EQ(again.kept, 0);
  EXPECT_EQ(again.encoded, 4);
  EXPECT_EQ(again.cache.text(cache.empty_text).size(0), cache.text_length);
}

TEST_F(Finetune, ADamagedArchiveIsADamagedFile) {
  write_bytes(folder / "cut.tar", std::string(700, 'x'));
  PrepareRequest both = request();
  both.data.push_back(folder / "cut.tar");
  EXPECT_TRUE(contains(error_of([&] { prepare_data(both); }), "1 file cannot be read; all others are in the cache"));
  both.skip_damaged = true;
  const PrepareResult result = prepare_data(both);
  EXPECT_EQ(result.kept, 4);
  EXPECT_TRUE(contains(result.cache.dropped.at(0).reason, "cut.tar"));
  both.data.push_back(folder / "none.tar");
  EXPECT_TRUE(contains(error_of([&] { prepare_data(both); }), "no such file or folder"));
}

TEST_F(Finetune, WrongFramesAndSizesAreErrors) {
  PrepareRequest wrong = request();
  wrong.frames = 8;
  EXPECT_TRUE(contains(error_of([&] { prepare_data(wrong); }), "--frames must be 1 + a multiple of 4, got 8"));
  wrong = request();
  wrong.size = {50, 32};
  EXPECT_TRUE(contains(error_of([&] { prepare_data(wrong); }), "--width and --height must be multiples of 16 and 16"));
}

TEST_F(Finetune, DrawnScenesAreDataToo) {
  SceneFilesPlan plan;
  plan.folder = folder / "scenes";
  plan.clips = plan.stills = 1;
  plan.side = 32;
  plan.frames = 5;
  write_scene_files(plan);
  PrepareRequest scenes = request();
  scenes.data = {plan.folder};
  scenes.size = {32, 32};
  scenes.fps = {8, 1};
  const PrepareResult result = prepare_data(scenes);
  ASSERT_EQ(result.cache.clips.size(), 2u);
  EXPECT_EQ(result.cache.clips[0].shape, (std::vector<int64_t>{16, 2, 4, 4}));
  EXPECT_EQ(result.cache.clips[1].shape, (std::vector<int64_t>{16, 1, 4, 4}));
  EXPECT_TRUE(result.cache.dropped.empty());
}

TEST_F(Finetune, ALoraResumesExactlyAndIsAppliedByName) {
  prepare_data(request());
  nlohmann::json options = config("whole", "whole.safetensors");
  options["rank"] = 2;
  options["alpha"] = 4;
  FinetuneTrainer(read(options, TuneMethod::kLora)).train();
  nlohmann::json halved = options;
  halved["run"] = (folder / "halved").string();
  halved["output"] = (folder / "halved.safetensors").string();
  {
    FinetuneTrainer first(read(halved, TuneMethod::kLora));
    for (int i = 0; i < 2; ++i) first.step();
    first.save();
    first.step();  // lost, as by a kill
  }
  FinetuneTrainer second(read(halved, TuneMethod::kLora));
  EXPECT_EQ(second.steps_done(), 2);
  second.train();
  EXPECT_EQ(test::read_text(folder / "halved.safetensors"), test::read_text(folder / "whole.safetensors"));
  EXPECT_TRUE(contains(test::read_text(folder / "whole/curve.html"), "validation"));

  const WanModel model = open_wan_model(pipeline);
  LoraShelf shelf = lora_shelf(model);
  const OpenedLora& lora = shelf.open((folder / "whole.safetensors").string());
  EXPECT_TRUE(lora.unmatched.empty());
  EXPECT_EQ(lora.changes.at(kLoraTransformer).size(), 2u * 10u);  // ten matrices in each of two blocks
  for (const auto& [name, layer] : lora.file.layers) {
    EXPECT_EQ(layer.scale, 2);
    EXPECT_GT(layer.up.abs().max().item<double>(), 0) << name;
  }
}

/// Loss and gradient norm of a run's first step.
std::pair<double, double> first_step(const std::filesystem::path& run) {
  const std::string log = test::read_text(run / "log.jsonl");
  const auto line = nlohmann::json::parse(log.substr(0, log.find('\n')));
  return {line.at("loss").get<double>(), line.at("norm").get<double>()};
}

TEST_F(Finetune, TwoRanksTakeTheStepsOfOneProcess) {
  prepare_data(request());
  FinetuneTrainer(read(config("alone", "alone.safetensors"), TuneMethod::kLora)).train();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      // Ranks are processes with one folder; threads of one process would take each other's temporary files.
      const std::string name = "rank" + std::to_string(rank);
      const Ranks ranks = {.rank = rank, .size = 2, .local_rank = rank, .local_size = 2, .launcher = "torchrun"};
      FinetuneTrainer(read(config(name, name + ".safetensors"), TuneMethod::kLora),
                      RankGroup::meet(ranks, folder.path()))
          .train();
    });
  for (std::thread& thread : threads) thread.join();
  const auto [loss, norm] = first_step(folder / "alone");
  const auto [shared_loss, shared_norm] = first_step(folder / "rank0");
  EXPECT_NEAR(shared_loss, loss, 1e-5 * loss);
  EXPECT_NEAR(shared_norm, norm, 1e-5 * norm);
  EXPECT_FALSE(std::filesystem::exists(folder / "rank1.safetensors"));
  const TensorFile alone = read_safetensors(folder / "alone.safetensors");
  const TensorFile together = read_safetensors(folder / "rank0.safetensors");
  for (const auto& [name, tensor] : alone.tensors()) {
    SCOPED_TRACE(name);
    EXPECT_CLOSE(together.at(name), tensor, 1e-2);  // Adam makes steps of rounding where a gradient is about zero
  }

  nlohmann::json options = config("few", "few.safetensors");
  options["accumulate"] = 1;
  const FinetuneConfig few = read(options, TuneMethod::kLora);
  EXPECT_TRUE(
      contains(error_of([&] { FinetuneTrainer(few, std::make_unique<RankGroup>(nullptr, 0, 2)); }), "accumulate"));
}

TEST_F(Finetune, RecomputedActivationsChangeNothing) {
  prepare_data(request());
  nlohmann::json options = config("kept", "kept");
  options["recompute"] = false;
  nlohmann::json again = config("recomputed", "recomputed");
  FinetuneTrainer kept(read(options, TuneMethod::kFull)), recomputed(read(again, TuneMethod::kFull));
  for (int i = 0; i < 3; ++i) {
    const double loss = kept.step();
    EXPECT_NEAR(recomputed.step(), loss, 1e-6 * loss);  // the captions' gradient is summed in another order
  }
}

TEST_F(Finetune, FullTrainingLearnsAndWritesAModel) {
  prepare_data(request());
  nlohmann::json options = config("full", "model");
  options["steps"] = 30;
  options["caption_dropout"] = 0;
  options["ema_decay"] = 0.5;
  FinetuneTrainer trainer(read(options, TuneMethod::kFull));
  const double before = trainer.validation_loss();
  EXPECT_DOUBLE_EQ(trainer.validation_loss(), before);
  trainer.train();
  EXPECT_LT(trainer.validation_loss(), before);
  const WanModel model = open_wan_model(folder / "model");
  EXPECT_EQ(load_transformer(model, "fp32", at::kCPU).part.config().num_layers, 2);
}

TEST_F(Finetune, ACacheOfAnotherModelIsRefused) {
  prepare_data(request());
  nlohmann::json index = read_json_object(folder / "cache/index.json");
  index["vae"] = "another";
  write_bytes(folder / "cache/index.json", index.dump());
  EXPECT_TRUE(contains(error_of([&] { FinetuneTrainer(read(config("run", "x.safetensors"), TuneMethod::kLora)); }),
                       "was encoded by another vae"));
}

TEST_F(Finetune, ModelsOfPicturesAndOfTwoTransformersAreRefused) {
  prepare_data(request());
  for (const auto& [name, words] :
       {std::pair("i2v", "makes videos of pictures; only models of text can be trained"),
        std::pair("flf2v", "makes videos of pictures"), std::pair("a14b_i2v", "makes videos of pictures"),
        std::pair("a14b_t2v", "has a transformer for each half of the noise levels")}) {
    SCOPED_TRACE(name);
    test::write_image_model(folder / name, name);
    PrepareRequest data = request();
    data.model = folder / name;
    EXPECT_TRUE(contains(error_of([&] { prepare_data(data); }), words));
    nlohmann::json training = config("run", "out.safetensors");
    training["model"] = (folder / name).string();
    const std::string told = error_of([&] { FinetuneTrainer(read(training, TuneMethod::kLora)); });
    EXPECT_TRUE(contains(told, words)) << told;
  }
}

TEST_F(Finetune, ConfigErrorsNameTheKey) {
  const auto told = [&](const char* key, const nlohmann::json& value, TuneMethod method = TuneMethod::kLora) {
    nlohmann::json options = config("run", "x.safetensors");
    options[key] = value;
    return error_of([&] { read(options, method); });
  };
  EXPECT_TRUE(contains(told("rank", 0), "\"rank\" must be at least 1"));
  EXPECT_TRUE(contains(told("rnk", 1), "rnk"));
  EXPECT_TRUE(contains(told("output", "x.bin"), "\"output\" must be a .safetensors file"));
  EXPECT_TRUE(contains(told("validation", 0.9), "\"validation\" must be from 0 to 0.5"));
  EXPECT_TRUE(contains(told("rank", 4, TuneMethod::kFull), "rank"));
  EXPECT_TRUE(contains(told("targets", "to_q"), "\"targets\" must be a list"));
}

TEST_F(Finetune, ATargetThatNoLayerHasIsAnError) {
  prepare_data(request());
  nlohmann::json options = config("run", "x.safetensors");
  options["targets"] = {"to_q", "to_z"};
  const std::string told = error_of([&] { FinetuneTrainer(read(options, TuneMethod::kLora)); });
  EXPECT_TRUE(contains(told, "targets: no layer of this model is called to_z; there are"));
  EXPECT_TRUE(contains(told, "attn1.to_q"));
}

TEST_F(Finetune, ASoftmaxModelBecomesMhla) {
  prepare_data(request());
  const nlohmann::json options = {{"model", pipeline.string()},
                                  {"cache", (folder / "cache").string()},
                                  {"run", (folder / "run").string()},
                                  {"output", (folder / "mhla").string()},
                                  {"dtype", "fp32"},
                                  {"attention", {{"kind", "mhla"}, {"softmax_layers", {0}}}},
                                  {"stage1", {{"steps", 40}, {"batch", 2}, {"learning_rate", 5e-3}}},
                                  {"stage2", {{"steps", 2}, {"batch", 2}}}};
  write_bytes(folder / "linearize.json", options.dump());
  const LinearizeConfig config = LinearizeConfig::read(folder / "linearize.json");
  EXPECT_EQ(config.tune.clip_norm, 0.1);
  EXPECT_EQ(config.tune.eps, 1e-10);
  DistillTrainer distill(config.distill, config.attention);
  double first = 0, last = 0;
  for (int i = 0; i < 8; ++i) first += distill.step();
  distill.train();
  const std::string log = test::read_text(folder / "run/stage1/log.jsonl");
  const auto lines = nlohmann::json::parse(log.substr(log.rfind('\n', log.size() - 2) + 1));
  last = lines.at("loss").get<double>();
  EXPECT_LT(last, first / 8);

  linearize(config);
  const WanModel model = open_wan_model(folder / "mhla");
  EXPECT_EQ(model.transformer.attention.kind_of_layer(0), AttentionKind::kSoftmax);
  EXPECT_EQ(model.transformer.attention.kind_of_layer(1), AttentionKind::kMhla);
  EXPECT_TRUE(model.transformer.attention.gated);
  const auto transformer = load_transformer(model, "fp32", at::kCPU);
  const at::Tensor out = transformer.part(at::ones({1, 16, 2, 4, 6}), at::full({1}, 500.0f), at::ones({1, 512, 32}));
  EXPECT_TRUE(out.isfinite().all().item<bool>());
}

TEST(Linearized, OnlySoftmaxModelsAreTaken) {
  const nlohmann::json teacher = {{"num_layers", 2}, {"num_attention_heads", 2}, {"attention_head_dim", 12}};
  const nlohmann::json student = linearized_config(teacher, {{"kind", "mhla"}}, {21, 30, 50}, "here");
  EXPECT_EQ(student.at("attention").at("block_layout"), nlohmann::json({3, 5, 10}));
  EXPECT_TRUE(contains(error_of([&] {
                         linearized_config(student, {{"kind", "mhla"}}, {1, 1, 1}, "here");
                       }),
                       "here: its self-attention is mhla already; want a softmax model"));
  EXPECT_TRUE(contains(error_of([&] {
                         linearized_config(teacher, {{"kind", "softmax"}}, {1, 1, 1}, "here");
                       }),
                       "kind must be mhla, linear or focused"));
}

}  // namespace
}  // namespace tessera
