#include "metrics/classifier_extractor.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/vit/input.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

const nlohmann::json kSizes = {{"image", 16}, {"patch", 4},   {"channels", 8}, {"heads", 2},
                               {"depth", 1},  {"hidden", 16}, {"classes", 3},  {"attention", {{"kind", "linear"}}}};

void write_classifier(const std::filesystem::path& folder, Vit& model, const std::string& class_name) {
  ParamList params;
  model.params(params);
  initialize(params, 7, at::kCPU);
  std::map<std::string, at::Tensor> tensors;
  for (const Param& param : params) tensors[param.name] = *param.slot;
  std::filesystem::create_directories(folder);
  write_component({"classifier", "diffusers", class_name, folder}, kSizes, tensors);
}

TEST(ClassifierExtractor, GivesTheMeanOverTheTokens) {
  const test::TemporaryFolder folder;
  Vit model(VitConfig::from_json(JsonConfig(kSizes, "sizes")));
  write_classifier(folder / "shapes", model, "TesseraClassifier");
  const ClassifierExtractor network(folder / "shapes", at::kCPU);
  EXPECT_EQ(network.info().dims, 8);
  EXPECT_EQ(network.info().side, 299);
  EXPECT_FALSE(network.info().is_standard);
  EXPECT_EQ(network.info().sha256.size(), 64u);
  EXPECT_TRUE(test::contains(network.info().name, "shapes"));
  EXPECT_TRUE(test::contains(network.info().name, "not the network of FID"));

  at::manual_seed(1);
  const at::Tensor pixels = at::rand({2, 3, 16, 16}) * 255;
  const Features found = network.features(pixels);
  EXPECT_TRUE(at::allclose(found.pool, model.features(classifier_normalized(pixels)), 1e-4, 1e-5));
  EXPECT_FALSE(found.logits.defined());
  // A flat picture looks the same at every size.
  const at::Tensor flat = at::full({1, 3, 299, 299}, 90.0F);
  const at::Tensor small = at::full({1, 3, 16, 16}, 90.0F);
  EXPECT_TRUE(at::allclose(network.features(flat).pool, network.features(small).pool, 1e-4, 1e-4));
}

TEST(ClassifierExtractor, OtherFoldersAreRefused) {
  const test::TemporaryFolder folder;
  Vit model(VitConfig::from_json(JsonConfig(kSizes, "sizes")));
  write_classifier(folder / "other", model, "AutoencoderKL");
  EXPECT_TRUE(test::contains(test::error_of([&] { ClassifierExtractor(folder / "other", at::kCPU); }),
                             "tessera train classifier"));
}

}  // namespace
}  // namespace tessera
