// A DeiT without class token with FLatten's focused linear attention in every block.
#include "tests/support/vit.h"

namespace tessera {

TEST(FocusedDeitParity, Logits) {
  const test::Fixture fixture("focused_deit");
  const TensorFile weights = vit_tensors(fixture.weights());
  VitConfig config = test::vit_config(fixture.config.at("model"), {"patch", "dim", "heads"});
  config.grid = config.image / config.patch;
  config.attention = AttentionKind::kFocused;
  config.kernel = weights.at("blocks.0.attn.dwc.weight").size(-1);
  config.power = fixture.config.at("model").value("focusing_factor", 3.0);
  config.norm_eps = fixture.config.at("norm_eps");
  EXPECT_CLOSE(test::bound<Vit>(config, weights)(fixture["x"]), fixture["logits"], 1e-5);
}

}  // namespace tessera
