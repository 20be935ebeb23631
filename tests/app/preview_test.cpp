#include <gtest/gtest.h>

#include "media/picture.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;
using test::TemporaryFolder;

ProcessResult generate(const std::vector<std::string>& more) {
  std::vector<std::string> all = {"generate",
                                  "a red star",
                                  "--model",
                                  test::fixture_folder() / "wan_pipeline" / "pipeline",
                                  "--max-sequence-length",
                                  "64",
                                  "--dtype",
                                  "fp32",
                                  "--size",
                                  "32x48",
                                  "--frames",
                                  "1",
                                  "--seed",
                                  "3",
                                  "--steps",
                                  "2"};
  all.insert(all.end(), more.begin(), more.end());
  return test::tessera(all);
}

TEST(Preview, LeavesTheOutputAsItIsAndNothingBeside) {
  const TemporaryFolder folder;
  const ProcessResult plain = generate({"-q", "--count", "2", "-o", folder / "x.png"});
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  const ProcessResult previewed = generate({"--count", "2", "--preview", "1", "-o", folder / "y.png"});
  ASSERT_EQ(previewed.exit_code, 0) << previewed.err;
  EXPECT_NE(previewed.err.find("previews in " + (folder / "y_0.preview.png").string() + ", every 1 step"),
            std::string::npos)
      << previewed.err;
  EXPECT_EQ(test::listing(folder.path()), (std::vector<std::string>{"x_0.png", "x_1.png", "y_0.png", "y_1.png"}));
  for (const char* name : {"_0.png", "_1.png"})
    EXPECT_TRUE(
        at::equal(read_picture(folder / ("x" + std::string(name))), read_picture(folder / ("y" + std::string(name)))));
}

TEST(Preview, ATinyDecoderPaintsToo) {
  const test::Fixture fixture("tiny_decoder");
  const TemporaryFolder folder;
  write_safetensors(folder / "taew2_1.safetensors", test::part_of(fixture.weights(), "wan21.").tensors());
  const ProcessResult result =
      generate({"--preview", "1", "--preview-decoder", folder / "taew2_1.safetensors", "-o", folder / "x.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err.find("no more previews"), std::string::npos) << result.err;
}

TEST(Preview, WhatCannotBePreviewedIsRefusedInOneLine) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::vector<std::string>& more, const std::string& part) {
    std::vector<std::string> all = {"-q", "-o", folder / "x.png"};
    all.insert(all.end(), more.begin(), more.end());
    const ProcessResult result = generate(all);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{});
  };
  refused({"--preview", "0"}, "--preview");
  refused({"--preview-decoder", "x.safetensors"}, "say how often with --preview N");
  refused({"--preview", "1", "--preview-decoder", folder / "none.safetensors"}, "none.safetensors");
  refused({"--preview", "1", "--preview-decoder",
           test::fixture_folder() / "wan_pipeline" / "pipeline" / "vae" / "diffusion_pytorch_model.safetensors"},
          "want a tiny decoder of TAEHV");
  const ProcessResult dit = test::tessera({"generate", "--model", test::fixture_folder() / "dit_pipeline" / "pipeline",
                                           "--class", "1", "--steps", "2", "--preview", "1", "-o", folder / "x.png"});
  EXPECT_EQ(dit.exit_code, 2) << dit.err;
  EXPECT_NE(dit.err.find("they are for text-to-video models"), std::string::npos) << dit.err;
}

}  // namespace
}  // namespace tessera
