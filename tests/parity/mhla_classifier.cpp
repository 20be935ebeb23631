// MHLA_ViT of the MHLA repository: an image classifier with blocks of tokens, framed to 16 patches a side.
#include "tests/support/vit.h"

namespace tessera {

TEST(MhlaClassifierParity, Logits) {
  const test::Fixture fixture("mhla_classifier");
  VitConfig config = test::vit_config(fixture.config, {"patch_size", "embed_dim", "num_heads"});
  config.grid = fixture.config.at("grid");
  config.attention = AttentionKind::kMhla;
  config.block = fixture.config.at("piece_size");
  config.kernel = fixture.config.at("lepe_kernel");
  config.norm_eps = fixture.config.at("block_norm_eps");
  const Vit model = test::bound<Vit>(config, vit_tensors(fixture.weights()));
  if (fixture.has("pooled")) EXPECT_CLOSE(model.features(fixture["x"]), fixture["pooled"], 1e-5);
  EXPECT_CLOSE(model(fixture["x"]), fixture["logits"], 1e-5);
}

}  // namespace tessera
