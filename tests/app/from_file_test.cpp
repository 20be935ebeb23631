#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using test::ProcessResult;
using test::TemporaryFolder;

std::vector<std::string> generate(const std::vector<std::string>& more) {
  std::vector<std::string> all = {"generate", "-q"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<std::string> first_time(const std::string& output, const std::vector<std::string>& more) {
  std::vector<std::string> all =
      generate({"a 'red' star", "--model", test::fixture_folder() / "wan_pipeline" / "pipeline", "--size", "32x32",
                "--max-sequence-length", "16", "--dtype", "fp32", "--steps", "2", "-o", output});
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(FromFile, MakesTheSameBytesAgain) {
  const TemporaryFolder folder;
  const auto same = [&](const std::string& first, const std::string& again, const std::vector<std::string>& more,
                        const std::string& shown = "") {
    const std::string output = shown.empty() ? first : shown;
    ASSERT_EQ(test::tessera(first_time(folder / first, more)).exit_code, 0);
    const ProcessResult result = test::tessera(generate({"--from-file", folder / output, "-o", folder / again}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err.find("differ"), std::string::npos) << result.err;
  };
  same("a.png", "b.png", {"--frames", "1", "--seed", "5", "--cfg-zero", "--negative-prompt", "rain"});
  EXPECT_EQ(test::read_text(folder / "a.png"), test::read_text(folder / "b.png"));
  same("a.jpg", "b.JPG", {"--frames", "1", "--seed", "5"});
  EXPECT_EQ(test::read_text(folder / "a.jpg"), test::read_text(folder / "b.JPG"));
  same("a.mp4", "b.mp4", {"--frames", "5", "--sampler", "euler", "--sigmas", "1,0.7"});
  EXPECT_EQ(test::read_text(folder / "a.mp4"), test::read_text(folder / "b.mp4"));
  // The second of two outputs alone.
  same("c.png", "d.png", {"--frames", "1", "--seed", "9", "--count", "2"}, "c_1.png");
  EXPECT_EQ(test::read_text(folder / "c_1.png"), test::read_text(folder / "d.png"));
  same("f/%04d.png", "g/%04d.png", {"--frames", "5"}, "f/0003.png");
  EXPECT_EQ(test::read_text(folder / "f/0004.png"), test::read_text(folder / "g/0004.png"));
}

TEST(FromFile, OptionsWinOverTheRecipe) {
  const TemporaryFolder folder;
  ASSERT_EQ(test::tessera(first_time(folder / "a.png", {"--frames", "1", "--seed", "5"})).exit_code, 0);
  ASSERT_EQ(test::tessera(first_time(folder / "b.png", {"--frames", "1", "--seed", "6"})).exit_code, 0);
  const ProcessResult other =
      test::tessera(generate({"--from_file", folder / "a.png", "--seed", "6", "-o", folder / "c.png"}));
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_EQ(test::read_text(folder / "b.png"), test::read_text(folder / "c.png"));
  const ProcessResult steps = test::tessera(
      generate({"a dog", "--from-file", folder / "a.png", "--json", "--steps", "1", "-o", folder / "d.png"}));
  ASSERT_EQ(steps.exit_code, 0) << steps.err;
  const auto job = nlohmann::json::parse(steps.out).at("job");
  EXPECT_EQ(job["prompt"], "a dog");
  EXPECT_EQ(job["steps"], 1);
  EXPECT_EQ(job["seed"], 5);
}

TEST(FromFile, WhatCannotBeMadeAgainIsRefused) {
  const TemporaryFolder folder;
  ASSERT_EQ(test::tessera(first_time(folder / "a.png", {"--frames", "1"})).exit_code, 0);
  const std::string before = test::read_text(folder / "a.png");
  const auto refused = [&](const std::vector<std::string>& arguments) {
    const ProcessResult result = test::tessera(generate(arguments));
    EXPECT_EQ(result.exit_code, 2) << result.err;
    return result.err;
  };
  EXPECT_NE(refused({"--from-file", folder / "a.png", "-o", folder / "a.png"}).find("would overwrite"),
            std::string::npos);
  EXPECT_EQ(test::read_text(folder / "a.png"), before);
  EXPECT_NE(refused({"--from-file", folder / "no.png"}).find("no such file"), std::string::npos);
  EXPECT_NE(refused({"--from-file", folder / "a.png", "--model", folder / "no", "-o", folder / "b.png"}).find("no"),
            std::string::npos);
  std::ofstream(folder / "x.mp4") << "not a video";
  EXPECT_NE(refused({"--from-file", folder / "x.mp4"}).find("a recipe is read from"), std::string::npos);
  // One picture cannot hold five frames.
  ASSERT_EQ(test::tessera(first_time(folder / "v.mp4", {"--frames", "5"})).exit_code, 0);
  EXPECT_NE(refused({"--from-file", folder / "v.mp4", "-o", folder / "v.png"}).find("holds one image"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera
