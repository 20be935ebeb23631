// diffusers' WanTransformer3DModel: whole and fractional timesteps, and its rotary table.
#include "models/attention/rope.h"
#include "models/wan/transformer.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

struct WanTransformerParity : testing::Test {
  test::Fixture fixture{"wan_transformer"};
  WanTransformer model{WanTransformerConfig::from_json({fixture.config.at("model"), "model"})};

  void SetUp() override { test::load(model, fixture.weights()); }
};

TEST_F(WanTransformerParity, WholeTimesteps) {
  EXPECT_CLOSE(model(fixture["x"], fixture["t"], fixture["context"]), fixture["out"], 2e-5);
}

TEST_F(WanTransformerParity, FractionalTimesteps) {
  if (!fixture.has("out_t_float")) return;
  const at::Tensor t = fixture["t"].to(at::kFloat) + 0.375;
  EXPECT_CLOSE(model(fixture["x"], t, fixture["context"]), fixture["out_t_float"], 2e-5);
}

TEST_F(WanTransformerParity, Bfloat16StaysClose) {
  test::load(model, fixture.weights(), at::kBFloat16);
  const at::Tensor out = model(fixture["x"].to(at::kBFloat16), fixture["t"], fixture["context"]);
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(out.to(at::kFloat), fixture["out"], 4e-2);
}

/// The text's keys are computed once for a context; the bytes are those without.
TEST_F(WanTransformerParity, KeptKeysChangeNothing) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    test::load(model, fixture.weights(), dtype);
    const at::Tensor x = fixture["x"].to(dtype), t = fixture["t"], context = fixture["context"].clone();
    WanKeptKeys kept;
    for (const int64_t text : {context.size(1), int64_t{3}, int64_t{0}}) {
      context.narrow(1, text, context.size(1) - text).fill_(0);
      if (text == 3) context[0][2].fill_(0);  // samples of different lengths
      const at::Tensor want = model(x, t, context);
      for (int call = 0; call < 2; ++call)
        EXPECT_TRUE(at::equal(model(x, t, context, nullptr, nullptr, {}, &kept), want)) << dtype << " " << text;
      ASSERT_EQ(static_cast<int64_t>(kept.blocks.size()), model.config().num_layers);
      EXPECT_EQ(kept.blocks[0].v.size(1), std::min(text + 1, context.size(1)));
    }
  }
}

TEST_F(WanTransformerParity, RotaryTable) {
  if (!fixture.has("rope_cos")) return;
  const auto latent = fixture.config.at("latent").get<std::vector<int64_t>>();
  const auto& config = model.config();
  const Extent3 grid{latent[0] / config.patch_size[0], latent[1] / config.patch_size[1],
                     latent[2] / config.patch_size[2]};
  const at::Tensor table = make_rope(grid, config.attention_head_dim, at::kCPU).table.unsqueeze(0);
  EXPECT_CLOSE(at::real(table).repeat_interleave(2, -1), fixture["rope_cos"], 1e-6);
  EXPECT_CLOSE(at::imag(table).repeat_interleave(2, -1), fixture["rope_sin"], 1e-6);
}

/// The reference computes its sinusoid in float32: angles near 1000 carry 6e-5 of rounding there, none here.
TEST_F(WanTransformerParity, TimestepSinusoid) {
  if (!fixture.has("timestep_sinusoid")) return;
  const at::Tensor t = fixture["t"].to(at::kFloat) + 0.375;
  EXPECT_CLOSE(timestep_sinusoid(t, model.config().freq_dim), fixture["timestep_sinusoid"], 2e-4);
}

}  // namespace
}  // namespace tessera
