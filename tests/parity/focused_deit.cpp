// A DeiT without class token with FLatten's focused linear attention in every block.
#include "models/vit.h"
#include "tests/support/fixture.h"
#include "weights/bind.h"
#include "weights/vit_names.h"

namespace tessera {
namespace {

TEST(FocusedDeitParity, Logits) {
  const test::Fixture fixture("focused_deit");
  const auto& json = fixture.config.at("model");
  const TensorFile weights = vit_tensors(fixture.weights());
  VitConfig config;
  config.patch = json.at("patch");
  config.channels = json.at("dim");
  config.depth = json.at("depth");
  config.heads = json.at("heads");
  config.classes = json.at("num_classes");
  config.hidden = json.at("mlp_ratio").get<int64_t>() * config.channels;
  config.image = json.at("image");
  config.grid = config.image / config.patch;
  config.attention = AttentionKind::kFocused;
  config.kernel = weights.at("blocks.0.attn.dwc.weight").size(-1);
  config.norm_eps = fixture.config.at("norm_eps");
  Vit model(config);
  ParamList params;
  model.params(params);
  bind(params, weights, at::kFloat, at::kCPU);
  EXPECT_CLOSE(model(fixture["x"]), fixture["logits"], 1e-5);
}

}  // namespace
}  // namespace tessera
