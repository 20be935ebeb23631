// tessera classify on the built binary: what it prints is what the network says of the picture it was given.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "media/image_io.h"
#include "pipelines/classifier.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"
#include "tests/support/vit.h"
#include "weights/torch_archive.h"
#include "weights/vit_names.h"

namespace tessera {
namespace {

using test::ProcessResult;
using test::TemporaryFolder;

const std::string kMhla = (test::fixture_folder() / "mhla_classifier" / "weights.safetensors").string();
const std::string kFocused = (test::fixture_folder() / "focused_deit" / "weights.safetensors").string();
const std::string kCheckpoint = std::string(TESSERA_SOURCE_DIR) + "/tests/data/classifier/model_best.pth.tar";

std::string heads_of_fixture() {
  return std::to_string(test::Fixture("mhla_classifier").config.at("num_heads").get<int64_t>());
}

ProcessResult classify(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "classify");
  return test::tessera(arguments);
}

at::Tensor picture(int64_t height, int64_t width) {
  return at::randint(256, {height, width, 3}, at::make_generator<at::CPUGeneratorImpl>(5), at::kByte);
}

/// Probabilities of a picture that needs no resizing: its center, normalized by hand.
at::Tensor expected(const TensorFile& file, const VitConfig& config, const at::Tensor& pixels) {
  const Vit model = test::bound<Vit>(config, file);
  const int64_t border = (pixels.size(0) - config.image) / 2;
  const at::Tensor center = pixels.narrow(0, border, config.image).narrow(1, border, config.image).permute({2, 0, 1});
  const at::Tensor mean = at::tensor({0.485f, 0.456f, 0.406f}).view({3, 1, 1});
  const at::Tensor deviation = at::tensor({0.229f, 0.224f, 0.225f}).view({3, 1, 1});
  return model(((center.to(at::kFloat) / 255 - mean) / deviation).unsqueeze(0)).softmax(-1).squeeze(0);
}

void expect_classes(const ProcessResult& result, const at::Tensor& probabilities) {
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto classes = nlohmann::json::parse(result.out).at("classes");
  const auto [best, places] = probabilities.sort(-1, /*descending=*/true);
  ASSERT_EQ(classes.size(), 5u);
  for (int64_t i = 0; i < 5; ++i) {
    const auto& shown = classes[static_cast<size_t>(i)];
    EXPECT_EQ(shown.at("class").get<int64_t>(), places[i].item<int64_t>());
    EXPECT_NEAR(shown.at("probability").get<double>(), best[i].item<double>(), 1e-5);
  }
}

TEST(Classify, MhlaAndFocusedClassifiers) {
  const TemporaryFolder folder;
  for (const std::string& weights : {kMhla, kFocused}) {
    SCOPED_TRACE(weights);
    ClassifierOptions options;
    if (weights == kMhla) options.heads = std::stoll(heads_of_fixture());
    const TensorFile file = vit_tensors(read_safetensors(weights));
    const VitConfig config = classifier_config(file, options);
    const auto side = static_cast<int64_t>(static_cast<double>(config.image) / 0.875);
    const at::Tensor pixels = picture(side, side);
    write_png(folder / "a.png", pixels);
    std::vector<std::string> arguments = {folder / "a.png", "--weights", weights, "--dtype", "fp32", "--json"};
    if (options.heads) arguments.insert(arguments.end(), {"--heads", heads_of_fixture()});
    expect_classes(classify(arguments), expected(file, config, pixels));
  }
}

TEST(Classify, TrainingCheckpointsGiveTheirAveragedWeights) {
  const TemporaryFolder folder;
  const at::Tensor pixels = picture(32, 32);
  write_png(folder / "a.png", pixels);
  const TensorFile file = vit_tensors(read_torch_archive(kCheckpoint, {"state_dict_ema"}));
  ClassifierOptions options;
  options.heads = 2;
  const ProcessResult result =
      classify({folder / "a.png", "--weights", kCheckpoint, "--heads", "2", "--dtype", "fp32", "--json"});
  expect_classes(result, expected(file, classifier_config(file, options), pixels));
}

TEST(Classify, NamesComeFromTheLabels) {
  const TemporaryFolder folder;
  write_png(folder / "a.png", picture(40, 70));
  std::ofstream(folder / "names.txt") << "zero\none\ntwo\nthree\nfour\n";
  const std::vector<std::string> model = {"--weights", kCheckpoint, "--heads", "2"};
  std::vector<std::string> arguments = {folder / "a.png", "--labels", folder / "names.txt", "--top", "2"};
  arguments.insert(arguments.end(), model.begin(), model.end());
  const ProcessResult result = classify(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 3);
  EXPECT_NE(result.out.find("(class "), std::string::npos) << result.out;
  std::ofstream(folder / "names.txt") << "zero\none\n";
  const ProcessResult few = classify(arguments);
  EXPECT_EQ(few.exit_code, 2);
  EXPECT_NE(few.err.find("5 classes"), std::string::npos) << few.err;
}

TEST(Classify, WhatCannotBeReadIsNamed) {
  const TemporaryFolder folder;
  write_png(folder / "a.png", picture(40, 40));
  const std::string image = folder / "a.png";
  std::ofstream(folder / "text.txt") << "no picture";
  const std::string other = (test::fixture_folder() / "wan_vae" / "weights.safetensors").string();
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{image, "--weights", kMhla}, "--heads"},
      {{image, "--weights", kMhla, "--heads", "5"}, "5 heads"},
      {{image, "--weights", kFocused, "--heads", "1"}, "--heads says 1"},
      {{image, "--weights", kMhla, "--heads", heads_of_fixture(), "--focusing-factor", "3"}, "--focusing-factor"},
      {{image, "--weights", other}, "not a known classifier"},
      {{image, "--weights", folder / "text.txt"}, "text.txt"},
      {{image, "--weights", folder / "absent.pth"}, "absent.pth"},
      {{folder / "text.txt", "--weights", kFocused}, "text.txt"},
      {{folder / "absent.png", "--weights", kFocused}, "absent.png"},
      {{image}, "--weights"},
  };
  for (const auto& [arguments, part] : cases) {
    const ProcessResult result = classify(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << "no " << part << " in " << result.err;
  }
}

TEST(Classify, GoesOnAfterWhatCannotBeReadAndReadsFolders) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "set/deep");
  write_png(folder / "set/a.png", picture(32, 32));
  write_png(folder / "set/deep/c.jpg", picture(32, 32));  // its bytes choose the decoder
  std::ofstream(folder / "set/b.png") << "no picture";
  std::ofstream(folder / "set/notes.txt") << "no picture";
  ASSERT_EQ(mkfifo((folder / "set/pipe.png").c_str(), 0600), 0);
  const std::vector<std::string> model = {"--weights", kCheckpoint, "--heads", "2", "--json"};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), model.begin(), model.end());
    return classify(arguments);
  };
  const ProcessResult some = run({folder / "set"});
  EXPECT_EQ(some.exit_code, 3) << some.err;
  EXPECT_EQ(std::count(some.out.begin(), some.out.end(), '\n'), 2) << some.out;
  EXPECT_NE(some.out.find("deep/c.jpg"), std::string::npos) << some.out;
  for (const char* part : {"b.png is not a readable", "1 .txt, 1 FIFO (", "1 of 3 pictures cannot be read"})
    EXPECT_NE(some.err.find(part), std::string::npos) << "no " << part << " in " << some.err;
  const ProcessResult none = run({folder / "set/b.png", folder / "absent.png", folder / "set/pipe.png"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_EQ(none.out, "");
  EXPECT_NE(none.err.find("3 of 3 pictures cannot be read"), std::string::npos) << none.err;
  EXPECT_EQ(run({folder / "set/a.png", folder / "set/deep"}).exit_code, 0);
  std::filesystem::create_directory(folder / "empty");
  EXPECT_NE(run({folder / "empty"}).err.find("there is no picture in or below"), std::string::npos);
}

/// A gray gradient's size and crop: the center of a wide picture, its left and right cut away.
TEST(ClassifierInput, ResizesTheShorterSideAndTakesTheCenter) {
  const at::Tensor row = at::arange(0, 160, at::kByte).view({1, 160, 1}).expand({80, 160, 3}).contiguous();
  const at::Tensor input = classifier_input(row, 70);  // 80 x 160 stays: floor(70 / 0.875) = 80
  ASSERT_EQ(input.sizes(), at::IntArrayRef({1, 3, 70, 70}));
  const at::Tensor red = input[0][0] * 0.229f + 0.485f;
  EXPECT_NEAR(red[0][0].item<double>() * 255, 45, 1e-3);
  EXPECT_NEAR(red[69][69].item<double>() * 255, 114, 1e-3);
  EXPECT_EQ(classifier_input(row, 35).sizes(), at::IntArrayRef({1, 3, 35, 35}));
}

}  // namespace
}  // namespace tessera
