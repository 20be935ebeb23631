// tessera train classifier, then classify and fid with what it wrote; tessera train language.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/files.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using test::contains;
using test::TemporaryFolder;

std::string write_config(const TemporaryFolder& folder, const nlohmann::json& config) {
  const std::string path = (folder / "config.json").string();
  std::ofstream(path) << config.dump();
  return path;
}

/// Four gray pictures in `folder`/NAME.
std::string write_pictures(const TemporaryFolder& folder, const std::string& name, int darkest) {
  for (int i = 0; i < 4; ++i)
    test::write_bytes(folder / name / (std::to_string(i) + ".pgm"),
                      "P5\n16 16\n255\n" + std::string(256, static_cast<char>(darkest + 10 * i)));
  return (folder / name).string();
}

TEST(TrainedClassifier, IsClassifiedWithAndComparedBy) {
  const TemporaryFolder folder;
  const std::string model = (folder / "model").string();
  const nlohmann::json config = {{"run", (folder / "run").string()},
                                 {"data", "scenes"},
                                 {"output", model},
                                 {"steps", 3},
                                 {"dtype", "fp32"},
                                 {"batch", 4},
                                 {"scenes", 12},
                                 {"held_out_scenes", 4},
                                 {"model",
                                  {{"image", 16},
                                   {"patch", 4},
                                   {"channels", 8},
                                   {"heads", 2},
                                   {"depth", 1},
                                   {"hidden", 16},
                                   {"attention", {{"kind", "focused"}, {"kernel_size", 0}}}}}};
  const auto trained = test::tessera({"train", "classifier", "--config", write_config(folder, config)});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const std::string dark = write_pictures(folder, "dark", 10), light = write_pictures(folder, "light", 200);

  const auto classified = test::tessera({"classify", dark + "/0.pgm", "--weights", model, "--json", "--top", "20"});
  ASSERT_EQ(classified.exit_code, 0) << classified.err;
  const auto classes = nlohmann::json::parse(classified.out).at("classes");
  ASSERT_EQ(classes.size(), 20u);
  std::set<std::string> names;
  double sum = 0;
  for (const auto& entry : classes) {
    names.insert(entry.at("name").get<std::string>());
    sum += entry.at("probability").get<double>();
  }
  EXPECT_TRUE(names.contains("star"));
  EXPECT_NEAR(sum, 1.0, 1e-5);

  const auto compared = test::tessera({"fid", dark, light, "--extractor", model, "--quiet"});
  EXPECT_EQ(compared.exit_code, 0) << compared.err;
  EXPECT_TRUE(contains(compared.out, "not FID")) << compared.out;
  const auto same = test::tessera({"fid", dark, dark, "--extractor", model, "--quiet", "--json"});
  ASSERT_EQ(same.exit_code, 0) << same.err;
  EXPECT_NEAR(nlohmann::json::parse(same.out).at("fid").get<double>(), 0.0, 1e-6);
}

TEST(TrainedLanguageModel, SaysItsBitsPerByte) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 40; ++i) text += "a line of text, and another\n";
  test::write_bytes(folder / "text.txt", text);
  const nlohmann::json config = {{"run", (folder / "run").string()},
                                 {"text", {(folder / "text.txt").string()}},
                                 {"output", (folder / "model").string()},
                                 {"steps", 3},
                                 {"dtype", "fp32"},
                                 {"batch", 2},
                                 {"model",
                                  {{"heads", 2},
                                   {"head_dim", 4},
                                   {"layers", 1},
                                   {"hidden", 16},
                                   {"length", 16},
                                   {"attention", {{"kind", "linear"}}}}}};
  const auto trained = test::tessera({"train", "language", "--config", write_config(folder, config)});
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_TRUE(contains(trained.err, "bits per byte of held-out text")) << trained.err;
  const auto refused = test::tessera({"train", "language", "--config", (folder / "absent.json").string()});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(contains(refused.err, "absent.json")) << refused.err;
}

}  // namespace
}  // namespace tessera
