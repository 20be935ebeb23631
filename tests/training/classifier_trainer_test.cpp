#include "training/classifier_trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/json_config.h"
#include "tests/media/folder_test.h"
#include "tests/support/resume.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;

TEST(ClassifierScore, ByHand) {
  const at::Tensor logits = at::tensor({2.0F, 0.0F, 0.0F, 2.0F, 3.0F, 0.0F}).view({3, 2});
  const ClassifierScore score = score_classes(logits, at::tensor({0, 1, 1}, at::kLong));
  EXPECT_NEAR(score.accuracy, 2.0 / 3, 1e-9);
  EXPECT_NEAR(score.loss, (2 * 0.126928 + 3.048587) / 3, 1e-5);  // ln(1 + e^-2) twice, 3 + ln(1 + e^-3)
}

TEST(Augmentation, NoneIsTheIdentityAndAFlipMirrors) {
  const at::Tensor images = at::arange(2 * 3 * 4 * 4, at::kFloat).view({2, 3, 4, 4});
  CounterRng rng(1, 0);
  EXPECT_TRUE(at::allclose(augmented(images, {.degrees = 0, .scale = 0, .shift = 0, .flip = false}, rng), images));
  int mirrored = 0;
  for (int64_t i = 0; i < 8; ++i) {
    const at::Tensor out = augmented(images, {.degrees = 0, .scale = 0, .shift = 0, .flip = true}, rng);
    for (int64_t b = 0; b < 2; ++b) {
      const bool flipped = at::allclose(out[b], images[b].flip({2}), 1e-4, 1e-3);
      EXPECT_TRUE(flipped || at::allclose(out[b], images[b], 1e-4, 1e-3));
      mirrored += flipped;
    }
  }
  EXPECT_GT(mirrored, 0);
  EXPECT_LT(mirrored, 16);
}

class TrainClassifier : public test::FolderTest {
 protected:
  void write_picture(const std::string& name, int value) const {
    const auto path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream out(path, std::ios::binary);
    out << "P5\n16 16\n255\n" << std::string(256, static_cast<char>(value));
  }
  void write_pictures() const {
    for (int i = 0; i < 5; ++i) {
      write_picture("pictures/dark/" + std::to_string(i) + ".pgm", 10 + i);
      write_picture("pictures/light/" + std::to_string(i) + ".pgm", 240 + i);
    }
  }
  nlohmann::json config(const std::string& run) const {
    return {{"run", (folder / run).string()},
            {"data", (folder / "pictures").string()},
            {"output", (folder / "classifier").string()},
            {"steps", 10},
            {"learning_rate", 1e-2},
            {"warmup", 0.0},
            {"dtype", "fp32"},
            {"batch", 4},
            {"model",
             {{"image", 8},
              {"patch", 2},
              {"channels", 8},
              {"heads", 2},
              {"depth", 1},
              {"hidden", 16},
              {"attention", {{"kind", "mhla"}, {"block_layout", {1, 2, 2}}, {"lepe", true}, {"gated", true}}}}}};
  }
  ClassifierTrainConfig read(const nlohmann::json& json) const {
    std::ofstream(folder / "config.json") << json.dump();
    return ClassifierTrainConfig::read(folder / "config.json");
  }
};

TEST_F(TrainClassifier, ResumesExactlyLearnsAndWritesAFolder) {
  write_pictures();
  std::vector<double> losses;
  test::expect_same_after_resume<ClassifierTrainer>(read(config("a")), read(config("b")), losses);
  const double before = ClassifierTrainer(read(config("fresh"))).held_out_score().loss;
  ClassifierTrainer(read(config("b"))).train();
  EXPECT_TRUE(std::filesystem::exists(folder / "b/sheet.png"));
  const nlohmann::json written = read_json_object(folder / "classifier/config.json");
  EXPECT_EQ(written.at("classes"), 2);
  EXPECT_EQ(written.at("_class_name"), "TesseraClassifier");
  std::ifstream names(folder / "classifier/labels.txt");
  std::string first, second;
  names >> first >> second;
  EXPECT_EQ(first + " " + second, "dark light");
  const nlohmann::json scores = read_json_object(folder / "classifier/scores.json");
  EXPECT_EQ(scores.at("pictures"), 2);  // one of five of each class
  EXPECT_LT(scores.at("loss").get<double>(), before);
  EXPECT_GE(scores.at("accuracy").get<double>(), 0.5);
}

TEST_F(TrainClassifier, TakesRenderedScenes) {
  nlohmann::json json = config("scenes");
  json["data"] = "scenes";
  json["scenes"] = 12;
  json["held_out_scenes"] = 5;
  json["sheet_minutes"] = 0;
  ClassifierTrainer(read(json)).train();
  EXPECT_FALSE(std::filesystem::exists(folder / "scenes/sheet.png"));
  EXPECT_EQ(read_json_object(folder / "classifier/config.json").at("classes"), 20);
  EXPECT_EQ(read_json_object(folder / "classifier/scores.json").at("pictures"), 5);
}

TEST_F(TrainClassifier, ErrorsAreOneClearLine) {
  write_pictures();
  const auto error_with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json json = config("bad");
    json[key] = value;
    return error_of([&] { ClassifierTrainer{read(json)}; });
  };
  EXPECT_TRUE(contains(error_with("bacth", 3), "batch"));
  EXPECT_TRUE(contains(error_with("augmentation", {{"degrees", 500}}), "[0, 180]"));
  EXPECT_TRUE(contains(error_with("label_smoothing", 1), "[0, 1)"));
  EXPECT_TRUE(contains(error_with("held_out_every", 6), "has 5 pictures; want at least 6"));
  EXPECT_TRUE(contains(error_with("data", (folder / "pictures/dark").string()), "two or more classes, found 0"));
  EXPECT_TRUE(contains(error_with("data", (folder / "absent").string()), "cannot list this folder"));
  nlohmann::json model = config("bad")["model"];
  model["classes"] = 2;
  EXPECT_TRUE(contains(error_with("model", model), "the data tells it"));
}

}  // namespace
}  // namespace tessera
