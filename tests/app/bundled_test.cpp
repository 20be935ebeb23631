#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/json_config.h"
#include "media/picture.h"
#include "media/video_reader.h"
#include "tests/support/process.h"

// The bundled model through the built binary: it is found without --model, follows the colors it is told, and runs at
// sizes and lengths it was not trained at.
namespace tessera {
namespace {

using test::ProcessResult;
using test::TemporaryFolder;

ProcessResult generate(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"generate"});
  arguments.insert(arguments.end(), {"--quiet", "--seed", "7"});
  return test::tessera(arguments);
}

/// Mean color of a patch of side 8 around (y, x), each in 0..255.
at::Tensor patch_color(const at::Tensor& pixels, int64_t y, int64_t x) {
  return pixels.slice(0, y - 4, y + 4).slice(1, x - 4, x + 4).to(at::kFloat).mean(at::IntArrayRef{0, 1});
}

void expect_near_color(const at::Tensor& actual, std::vector<float> wanted, float most) {
  const at::Tensor distance = (actual - at::tensor(wanted)).abs().max();
  EXPECT_LE(distance.item<float>(), most) << actual;
}

}  // namespace

TEST(Bundled, DrawsASquareInItsColorsOnItsBackground) {
  const TemporaryFolder folder;
  const ProcessResult result = generate({"a red square on a white background", "-o", (folder / "a.png").string()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const at::Tensor pixels = read_picture(folder / "a.png");
  ASSERT_EQ(pixels.sizes(), (std::vector<int64_t>{128, 128, 3}));
  expect_near_color(patch_color(pixels, 8, 8), {245, 245, 245}, 25);
  expect_near_color(patch_color(pixels, 64, 64), {220, 30, 40}, 45);
}

TEST(Bundled, RunsAtSizesAndLengthsItWasNotTrainedAt) {
  const TemporaryFolder folder;
  for (const auto& [size, height, width] : {std::tuple{"128x96", 96, 128}, {"176x176", 176, 176}}) {
    const auto path = folder / (std::string(size) + ".png");
    const ProcessResult result =
        generate({"a red square on a white background", "--size", size, "--steps", "8", "-o", path.string()});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const at::Tensor pixels = read_picture(path);
    EXPECT_EQ(pixels.sizes(), (std::vector<int64_t>{height, width, 3}));
    expect_near_color(patch_color(pixels, 8, 8), {245, 245, 245}, 60);
  }
  for (const int64_t frames : {13, 41}) {
    const auto path = folder / (std::to_string(frames) + ".mp4");
    const ProcessResult result = generate({"a red square moving left on a white background", "--frames",
                                           std::to_string(frames), "--steps", "4", "-o", path.string()});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(read_video(path).frames.size(0), frames);
  }
}

TEST(Bundled, SaysWhatItWasNotTrainedOn) {
  const TemporaryFolder folder;
  const auto told = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"generate", "--seed", "7", "--steps", "1", "-o", (folder / "x.png").string()});
    const ProcessResult result = test::tessera(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.err;
  };
  EXPECT_EQ(told({"A red heart, on a white background."}).find("trained"), std::string::npos);
  EXPECT_NE(told({"a cat on a red sofa"}).find("not trained on: \"cat\", \"sofa\""), std::string::npos);
  EXPECT_NE(told({"a red heart", "--size", "176x176"}).find("192x192 only; at 176x176"), std::string::npos);
  EXPECT_EQ(told({"a red heart", "--size", "96x160"}).find("trained"), std::string::npos);
  const ProcessResult info = test::tessera({"info"});
  EXPECT_NE(info.out.find("trained on 96x96, 96x160, 112x112, 112x176, 128x128, 128x192,"), std::string::npos)
      << info.out;
  EXPECT_NE(info.out.find("192x192; 1, 5, 9, 17 or"), std::string::npos) << info.out;
  EXPECT_NE(info.out.find("words      a, airplane, an,"), std::string::npos) << info.out;
}

TEST(Bundled, SaysItOnceForAFileOfPrompts) {
  const TemporaryFolder folder;
  std::ofstream(folder / "prompts.txt") << "a cat\na dog\na red heart\n";
  const ProcessResult result =
      test::tessera({"batch", (folder / "prompts.txt").string(), "-o", (folder / "out").string(), "--size", "96x80",
                     "--frames", "1", "--steps", "1", "--no-gallery"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto count = [&](const std::string& text) {
    int64_t found = 0;
    for (size_t at = result.err.find(text); at != std::string::npos; at = result.err.find(text, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("2 of 3 prompts have words that this model was not trained on: \"cat\", \"dog\";"), 1) << result.err;
  EXPECT_EQ(count("only; at 96x80 "), 1) << result.err;
  EXPECT_EQ(count("trained"), 2) << result.err;
}

TEST(Bundled, SameCommandGivesTheSameBytes) {
  const TemporaryFolder folder;
  for (const char* name : {"a.mp4", "b.mp4"}) {
    const ProcessResult result =
        generate({"a blue star spinning on a pink background", "--steps", "4", "-o", (folder / name).string()});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  EXPECT_EQ(test::read_text(folder / "a.mp4"), test::read_text(folder / "b.mp4"));
}

TEST(Bundled, EveryLayerIsMhlaAndTheWholeIsSmall) {
  const ProcessResult result = test::tessera({"info", std::string(TESSERA_SOURCE_DIR) + "/weights/bundled", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto info = nlohmann::json::parse(result.out);
  EXPECT_EQ(result.out.find("softmax"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("mhla"), std::string::npos) << result.out;
  int64_t bytes = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::string(TESSERA_SOURCE_DIR) + "/weights/bundled"))
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  EXPECT_LT(bytes, 30'000'000);
}

}  // namespace tessera
