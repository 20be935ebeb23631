// --vae-tile on the built program: generate, batch and decode give the frames that whole decoding gives.
#include <ATen/ATen.h>

#include "media/picture.h"
#include "tests/support/process.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

using test::ProcessResult;

/// Largest difference of two pictures in levels of 255.
int64_t difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  const at::Tensor first = read_picture(a).to(at::kInt), second = read_picture(b).to(at::kInt);
  EXPECT_EQ(first.sizes(), second.sizes());
  return (first - second).abs().max().item<int64_t>();
}

struct VaeTile : testing::Test {
  test::TemporaryFolder folder;
  const std::vector<std::string> scene = {"--size", "320x256", "--frames", "1", "--steps", "2", "--seed", "3", "-q"};

  ProcessResult tessera(std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::tessera(arguments);
  }
};

TEST_F(VaeTile, GenerateAndBatch) {
  ASSERT_EQ(tessera({"generate", "a red star", "-o", folder / "whole.png"}, scene).exit_code, 0);
  const ProcessResult tiled =
      tessera({"generate", "a red star", "-o", folder / "tiled.png", "--vae-tile", "192"}, scene);
  ASSERT_EQ(tiled.exit_code, 0) << tiled.err;
  EXPECT_LE(difference(folder / "tiled.png", folder / "whole.png"), 1);
  EXPECT_NE(test::read_text(folder / "tiled.png").find("\"vae_tile\":192"), std::string::npos);

  std::ofstream(folder / "prompts.txt") << "a red star\n";
  const ProcessResult batch =
      tessera({"batch", folder / "prompts.txt", "-o", folder / "out", "--vae-tile", "192"}, scene);
  ASSERT_EQ(batch.exit_code, 0) << batch.err;
  int pictures = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "out"))
    if (entry.path().extension() == ".png") {
      ++pictures;
      EXPECT_LE(difference(entry.path(), folder / "whole.png"), 1);
    }
  EXPECT_EQ(pictures, 1);
}

TEST_F(VaeTile, Decode) {
  const std::string recipe = R"({"job": {"prompt": "a red star", "width": 320, "height": 256, "frames": 5}})";
  write_safetensors(folder / "z.safetensors",
                    {{"latents", at::linspace(-2, 2, 16 * 3 * 32 * 40).view({1, 16, 3, 32, 40})}},
                    {{"tessera", recipe}});
  for (const std::string tile : {"0", "192"}) {
    const ProcessResult result = test::tessera(
        {"decode", folder / "z.safetensors", "-o", folder / (tile + "/frame_%04d.png"), "--vae-tile", tile, "-q"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  for (const std::string frame : {"frame_0000.png", "frame_0004.png"})
    EXPECT_LE(difference(folder / ("0/" + frame), folder / ("192/" + frame)), 2);
}

TEST_F(VaeTile, TooSmallIsAnErrorThatSaysWhatIsEnough) {
  const ProcessResult result = tessera({"generate", "a red star", "-o", folder / "x.png", "--vae-tile", "64"}, scene);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("--vae-tile 64 is too small for this model: want at least 192"), std::string::npos)
      << result.err;
}

}  // namespace
}  // namespace tessera
