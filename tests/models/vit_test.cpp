#include "models/vit/vit.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/vit/input.h"

namespace tessera {
namespace {

const std::vector<const char*> kOwnAttentions = {
    R"({"kind": "softmax"})",
    R"({"kind": "linear"})",
    R"({"kind": "focused", "kernel_size": 0})",
    R"({"kind": "focused", "kernel_size": 3})",
    R"({"kind": "mhla", "block_layout": [1, 2, 2]})",
    R"({"kind": "mhla", "block_layout": [1, 2, 2], "lepe": true, "gated": true})"};

nlohmann::json own_classifier(const std::string& attention) {
  return {{"image", 16}, {"patch", 4},   {"channels", 8}, {"heads", 2},
          {"depth", 2},  {"hidden", 16}, {"classes", 3},  {"attention", nlohmann::json::parse(attention)}};
}

TEST(Vit, OwnClassifiersOfEveryKindRunAndLearn) {
  for (const char* attention : kOwnAttentions) {
    SCOPED_TRACE(attention);
    const VitConfig config = VitConfig::from_json(JsonConfig(own_classifier(attention), "config.json"));
    EXPECT_EQ(config.grid, 4);
    Vit model(config);
    ParamList params;
    model.params(params);
    initialize(params, 1, at::kCPU);
    for (const Param& param : params) param.slot->requires_grad_();
    at::manual_seed(2);
    const at::Tensor images = at::randn({2, 3, 16, 16});
    const at::Tensor logits = model(images);
    EXPECT_EQ(logits.sizes(), at::IntArrayRef({2, 3}));
    logits.square().sum().backward();
    for (const Param& param : params) {
      ASSERT_TRUE(param.slot->grad().defined()) << param.name;
      EXPECT_TRUE(param.slot->grad().isfinite().all().item<bool>()) << param.name;
    }
    const at::Tensor narrow = model(images.to(at::kBFloat16));
    EXPECT_EQ(narrow.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(at::allclose(narrow.to(at::kFloat), logits, 0.1, 0.1)) << narrow << logits;
  }
}

TEST(Vit, FocusedWithoutConvolutionHasNoFilters) {
  const auto names_of = [](const char* attention) {
    Vit model(VitConfig::from_json(JsonConfig(own_classifier(attention), "config.json")));
    ParamList params;
    model.params(params);
    return params.names();
  };
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  EXPECT_TRUE(has(names_of(kOwnAttentions[3]), "blocks.0.attn.dwc.weight"));
  EXPECT_FALSE(has(names_of(kOwnAttentions[2]), "blocks.0.attn.dwc.weight"));
  EXPECT_TRUE(has(names_of(kOwnAttentions[2]), "blocks.0.attn.scale"));
  EXPECT_TRUE(has(names_of(kOwnAttentions[5]), "blocks.1.attn.g.weight"));
  EXPECT_FALSE(has(names_of(kOwnAttentions[4]), "blocks.1.attn.g.weight"));
}

TEST(Vit, OwnConfigErrors) {
  const auto refused = [](const char* key, const nlohmann::json& value) {
    nlohmann::json config = own_classifier(R"({"kind": "linear"})");
    config[key] = value;
    EXPECT_THROW(VitConfig::from_json(JsonConfig(config, "config.json")), Error) << key;
  };
  refused("image", 18);
  refused("channels", 9);
  refused("classes", 0);
  refused("attention", nullptr);
  refused("attention", {{"kind", "linear"}, {"softmax_layers", {0}}});
}

TEST(Vit, InputIsASquareOfBytesThenNormalized) {
  at::Tensor pixels = at::zeros({8, 16, 3}, at::kByte);
  pixels.select(2, 0).fill_(255);
  const at::Tensor square = classifier_square(pixels, 7);  // 8 x 16 stays: floor(7 / 0.875) = 8
  EXPECT_EQ(square.sizes(), at::IntArrayRef({1, 3, 7, 7}));
  EXPECT_EQ(square[0][0].min().item<float>(), 255.0F);
  EXPECT_EQ(square[0][1].max().item<float>(), 0.0F);
  const at::Tensor normal = classifier_normalized(square);
  EXPECT_NEAR(normal[0][0][0][0].item<double>(), (1 - 0.485) / 0.229, 1e-5);
  EXPECT_NEAR(normal[0][2][0][0].item<double>(), -0.406 / 0.225, 1e-5);
}

}  // namespace
}  // namespace tessera
