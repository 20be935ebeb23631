#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoints/dit/model.h"
#include "media/image_io.h"
#include "tests/media/folder_test.h"
#include "tests/support/fixture.h"
#include "training/finetune.h"
#include "training/prepare.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;

/// A tiny DiT of random weights that knows ImageNet's classes, and a folder for each of two of them.
class DitFinetune : public test::FolderTest {
 protected:
  std::filesystem::path pipeline = test::fixture_folder() / "dit_pipeline/pipeline";

  void SetUp() override {
    const auto picture = [&](const std::string& name, int level) {
      std::filesystem::create_directories((folder / "data" / name).parent_path());
      write_png(folder / "data" / name, at::full({40, 32, 3}, level, at::kByte));
    };
    picture("goldfish/0.png", 40);
    picture("goldfish/1.png", 60);
    picture("7/0.png", 200);
    picture("7/1.png", 220);
    picture("7/named.png", 120);
    test::write_bytes(folder / "data/7/named.txt", "tench");
    picture("house of cards/0.png", 0);
    test::write_bytes(folder / "data/7/film.mp4", "");
  }

  PrepareRequest request() const {
    PrepareRequest request;
    request.model = pipeline;
    request.data = {folder / "data"};
    request.cache = folder / "cache";
    return request;
  }

  FinetuneConfig config(const std::string& run, nlohmann::json more = nlohmann::json::object(),
                        TuneMethod method = TuneMethod::kFull) const {
    nlohmann::json json = {{"model", pipeline.string()},
                           {"cache", (folder / "cache").string()},
                           {"run", (folder / run).string()},
                           {"output", (folder / (run + ".safetensors")).string()},
                           {"dtype", "fp32"},
                           {"steps", 30},
                           {"learning_rate", 2e-3},
                           {"batch", 2},
                           {"validation", 0.3},
                           {"samples", 1},
                           {"sample_steps", 2}};
    json.update(more);
    return FinetuneConfig::from_json({json, "config"}, method);
  }
};

TEST_F(DitFinetune, FoldersAreClasses) {
  const PrepareResult result = prepare_data(request());
  std::map<std::string, int> classes;
  for (const CachedClip& clip : result.cache.clips) {
    EXPECT_EQ(clip.shape, (std::vector<int64_t>{4, 1, 4, 4}));
    ++classes[clip.caption + " " + std::to_string(result.cache.text(clip.text).item<int64_t>())];
  }
  EXPECT_EQ(classes, (std::map<std::string, int>{{"goldfish 1", 2}, {"7 7", 2}, {"tench 0", 1}}));
  EXPECT_EQ(result.cache.text(result.cache.empty_text).item<int64_t>(), 1000);  // the class of none
  std::map<std::string, std::string> dropped;
  for (const DroppedItem& item : result.cache.dropped)
    dropped[std::filesystem::path(item.name).lexically_relative(folder / "data").string()] = item.reason;
  ASSERT_EQ(dropped.size(), 2u);
  EXPECT_EQ(dropped["7/film.mp4"], "it is a video, and the model makes pictures");
  EXPECT_TRUE(contains(dropped["house of cards/0.png"], "its caption is not a class of the model"));

  PrepareRequest wrong = request();
  wrong.size = {64, 32};
  EXPECT_TRUE(contains(error_of([&] { prepare_data(wrong); }), "--width and --height must be 32 for this model"));
}

TEST_F(DitFinetune, LearnsResumesExactlyAndWritesAModel) {
  prepare_data(request());
  FinetuneTrainer whole(config("whole"));
  const double before = whole.validation_loss();
  whole.train();
  EXPECT_LT(whole.validation_loss(), before);
  EXPECT_TRUE(std::filesystem::exists(folder / "whole/sheet.png"));
  {
    FinetuneTrainer first(config("halved"));
    for (int i = 0; i < 10; ++i) first.step();
    first.save();
    first.step();  // lost, as by a kill
  }
  FinetuneTrainer second(config("halved"));
  EXPECT_EQ(second.steps_done(), 10);
  second.train();
  const std::string weights = "transformer/diffusion_pytorch_model.safetensors";
  const std::string bytes = test::read_text(folder / "whole.safetensors" / weights);
  EXPECT_FALSE(bytes.empty());
  EXPECT_EQ(test::read_text(folder / "halved.safetensors" / weights), bytes);
  const DitModel model = open_dit_model(folder / "whole.safetensors", {});
  check_weights(model);
  EXPECT_EQ(model.class_count(), 1000);
}

TEST_F(DitFinetune, WhatIsForOtherModelsIsRefused) {
  prepare_data(request());
  const auto told = [&](const nlohmann::json& more, TuneMethod method = TuneMethod::kFull) {
    const FinetuneConfig wrong = config("run", more, method);
    return error_of([&] { FinetuneTrainer trainer(wrong); });
  };
  EXPECT_TRUE(contains(told({{"shift", 2}}), "time_mean, time_deviation and shift are for flows"));
  EXPECT_TRUE(contains(told(nlohmann::json::object(), TuneMethod::kLora), "use tessera train full"));
}

}  // namespace
}  // namespace tessera
