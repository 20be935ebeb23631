#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "media/frame_writer.h"
#include "media/picture.h"
#include "tests/support/process.h"
#include "tests/support/wan_images.h"

namespace tessera::test {

/// The built program with the models and pictures of the wan_images fixture.
struct WanImagesApp : testing::Test {
  const std::filesystem::path pictures = fixture_folder() / "wan_images";
  TemporaryFolder folder;

  std::filesystem::path model(const std::string& name) {
    const std::filesystem::path path = folder / name;
    if (!std::filesystem::exists(path)) write_image_model(path, name);
    return path;
  }

  ProcessResult generate(const std::string& name, std::vector<std::string> arguments) {
    std::vector<std::string> all = {"generate", "a red star", "--model", model(name), "--max-sequence-length",
                                    "32",       "--dtype",    "fp32",    "--frames",  "5",
                                    "--steps",  "2",          "--seed",  "3"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return tessera(all);
  }

  /// The frames that a run writes, [T, H, W, 3].
  at::Tensor frames(const std::string& name, std::vector<std::string> arguments) {
    const std::string pattern = folder / "made" / "%04d.png";
    arguments.insert(arguments.end(), {"-o", pattern});
    const ProcessResult result = generate(name, arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::vector<at::Tensor> all;
    for (int64_t i = 0; i < 5; ++i) all.push_back(read_picture(frame_path(pattern, i)));
    return at::stack(all);
  }

  void expect_refused(const std::string& name, const std::vector<std::string>& arguments,
                      const std::vector<std::string>& parts) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--quiet", "-o", folder / "no.mp4"});
    const ProcessResult result = generate(name, all);
    SCOPED_TRACE(result.err);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
    for (const std::string& part : parts) EXPECT_NE(result.err.find(part), std::string::npos) << part;
    EXPECT_FALSE(std::filesystem::exists(folder / "no.mp4"));
  }
};

}  // namespace tessera::test
