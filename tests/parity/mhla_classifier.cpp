// MHLA_ViT of the MHLA repository: an image classifier with blocks of tokens, framed to 16 patches a side.
#include "models/vit.h"
#include "tests/support/fixture.h"
#include "weights/bind.h"
#include "weights/vit_names.h"

namespace tessera {
namespace {

TEST(MhlaClassifierParity, Logits) {
  const test::Fixture fixture("mhla_classifier");
  const auto& json = fixture.config;
  VitConfig config;
  config.patch = json.at("patch_size");
  config.channels = json.at("embed_dim");
  config.depth = json.at("depth");
  config.heads = json.at("num_heads");
  config.classes = json.at("num_classes");
  config.hidden = json.at("mlp_ratio").get<int64_t>() * config.channels;
  config.grid = json.at("grid");
  config.image = json.at("image");
  config.attention = AttentionKind::kMhla;
  config.block = json.at("piece_size");
  config.kernel = json.at("lepe_kernel");
  config.norm_eps = json.at("block_norm_eps");
  Vit model(config);
  ParamList params;
  model.params(params);
  bind(params, vit_tensors(fixture.weights()), at::kFloat, at::kCPU);
  EXPECT_CLOSE(model.features(fixture["x"]), fixture["pooled"], 1e-5);
  EXPECT_CLOSE(model(fixture["x"]), fixture["logits"], 1e-5);
}

}  // namespace
}  // namespace tessera
