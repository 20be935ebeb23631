#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/json_config.h"
#include "models/attention/causal_mhla.h"
#include "models/attention/focused.h"
#include "models/attention/linear.h"
#include "models/vit/vit.h"
#include "models/wan/transformer.h"
#include "tests/support/fixture.h"
#include "tests/support/meta_kernels.h"

namespace tessera {
namespace {

at::Tensor draw(at::IntArrayRef sizes, uint64_t seed) {
  return at::randn(sizes, at::make_generator<at::CPUGeneratorImpl>(seed), at::kFloat);
}

TEST(LinearAttention, EqualsTheQuadraticForm) {
  const at::Tensor q = draw({2, 5, 6}, 1).abs(), k = draw({2, 7, 6}, 2).abs(), v = draw({2, 7, 6}, 3);
  const at::Tensor out = linear_attention(q, k, v, 2);
  for (int64_t head = 0; head < 2; ++head) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(-1, 3 * head, 3); };
    const at::Tensor scores = at::matmul(part(q), part(k).mT()) / 7;
    EXPECT_CLOSE(part(out), at::matmul(scores / (scores.sum(-1, true) + 1e-6), part(v)), 1e-6);
  }
}

TEST(Focus, KeepsTheLengthAndSharpens) {
  // softplus(log(e - 1)) = 1, so t = (3, 4) + 1e-6; cubes (27, 64) brought back to length 5.
  const at::Tensor scale = at::full({2}, std::log(std::exp(1.0) - 1.0));
  const at::Tensor out = focus(at::tensor({3.0f, 4.0f}), scale, 3);
  const double length = std::sqrt(27.0 * 27.0 + 64.0 * 64.0);
  EXPECT_NEAR(out[0].item<double>(), 5 * 27 / length, 1e-5);
  EXPECT_NEAR(out[1].item<double>(), 5 * 64 / length, 1e-5);
}

TEST(Focus, LargePowersStayFinite) {
  const at::Tensor out = focus(at::tensor({-1.0f, 1e-3f, 500.0f}), at::zeros({3}), 40);
  EXPECT_TRUE(out.isfinite().all().item<bool>());
  EXPECT_NEAR(out[2].item<double>(), 500.0 / std::log(2.0), 0.1);
}

TEST(Focusing, OneFilterSetServesEveryHead) {
  Focusing focusing(2, 3, 3.0, 3);
  ParamList params;
  focusing.params(params, "");
  initialize(params, 5, at::kCPU);
  const Extent3 grid{2, 3, 4};
  const at::Tensor v = draw({1, 24, 6}, 4);
  const at::Tensor swapped = at::cat({v.narrow(-1, 3, 3), v.narrow(-1, 0, 3)}, -1);
  const at::Tensor out = focusing.convolved(v, grid), other = focusing.convolved(swapped, grid);
  EXPECT_CLOSE(other.narrow(-1, 0, 3), out.narrow(-1, 3, 3), 1e-6);
  at::Tensor second_frame = v.clone();
  second_frame.narrow(1, 12, 12).fill_(9);
  EXPECT_TRUE(at::equal(focusing.convolved(second_frame, grid).narrow(1, 0, 12), out.narrow(1, 0, 12)));
}

TEST(CausalMhla, LaterTokensChangeNothingBefore) {
  const at::Tensor q = draw({1, 20, 2, 4}, 1), k = draw({1, 20, 2, 4}, 2), v = draw({1, 20, 2, 3}, 3);
  const at::Tensor mixing = draw({3, 3}, 4);
  at::Tensor later = k.clone();
  later.narrow(1, 11, 9).fill_(7);
  const at::Tensor a = causal_mhla(q, k, v, mixing, 8, 0.5), b = causal_mhla(q, later, v, mixing, 8, 0.5);
  EXPECT_TRUE(at::equal(a.narrow(1, 0, 11), b.narrow(1, 0, 11)));
  EXPECT_FALSE(at::equal(a.narrow(1, 11, 9), b.narrow(1, 11, 9)));
}

/// One head of one channel, chunks of two tokens, by hand.
TEST(CausalMhla, ByHand) {
  const auto line = [](std::vector<float> numbers) { return at::tensor(numbers).view({1, -1, 1, 1}); };
  const at::Tensor q = line({1, 2, 3}), k = line({1, 1, 2}), v = line({4, 5, 6});
  const at::Tensor mixing = at::tensor({0.5f, 9.0f, 0.25f, 2.0f}).view({2, 2});
  // 1 * .5 * 4; 2 * .5 * (4 + 5); 3 * (.25 * (4 + 5) + 2 * 2 * 6)
  EXPECT_CLOSE(causal_mhla(q, k, v, mixing, 2, 1.0), line({2, 9, 78.75}), 1e-6);
  EXPECT_THROW(causal_mhla(q, k, v, mixing, 1, 1.0), c10::Error);
}

TEST(AttentionKinds, AreReadAndChecked) {
  const auto read = [](const char* text) {
    return AttentionConfig::from_json(JsonConfig(nlohmann::json::parse(text), "config.json"));
  };
  EXPECT_EQ(read(R"({"kind": "linear"})").kind, AttentionKind::kLinear);
  const AttentionConfig focused = read(R"({"kind": "focused", "focusing_factor": 4, "softmax_layers": [1]})");
  EXPECT_EQ(focused.focusing_factor, 4);
  EXPECT_EQ(focused.kind_of_layer(0), AttentionKind::kFocused);
  EXPECT_EQ(focused.kind_of_layer(1), AttentionKind::kSoftmax);
  EXPECT_THROW(read(R"({"kind": "linear", "block_layout": [1, 2, 2]})"), Error);
  EXPECT_THROW(read(R"({"kind": "focused", "kernel_size": 4})"), Error);
  EXPECT_THROW(read(R"({"kind": "focused", "focusing_factor": 0})"), Error);
}

WanTransformerConfig tiny(AttentionKind kind) {
  WanTransformerConfig config = WanTransformerConfig::from_json(
      JsonConfig::read(test::fixture_folder() / "wan_pipeline" / "pipeline" / "transformer" / "config.json"));
  config.attention.kind = kind;
  return config;
}

TEST(AttentionKinds, AVideoTransformerRunsWithEach) {
  for (const auto kind : {AttentionKind::kLinear, AttentionKind::kFocused}) {
    const WanTransformerConfig config = tiny(kind);
    WanTransformer model(config);
    ParamList params;
    model.params(params);
    initialize(params, 3, at::kCPU);
    for (const Param& param : params) *param.slot = *param.slot + 0.1 * draw(param.shape, 9);  // no gate stays closed
    const at::Tensor latents = draw({1, config.in_channels, 3, 6, 4}, 6), context = draw({1, 5, config.text_dim}, 7);
    const at::Tensor out = model(latents, at::tensor({500.0f}), context);
    EXPECT_EQ(out.sizes(), latents.sizes());
    EXPECT_TRUE(out.isfinite().all().item<bool>());
    // Every token sees every other: a change in the last frame reaches the first.
    at::Tensor changed = latents.clone();
    changed.select(2, 2).add_(1);
    EXPECT_FALSE(at::equal(model(changed, at::tensor({500.0f}), context).select(2, 0), out.select(2, 0)));
  }
}

TEST(AttentionKinds, RunOnTheMetaDevice) {
  test::use_meta_kernels();
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto meta = at::TensorOptions().device(at::kMeta).dtype(dtype);
    for (const auto kind : {AttentionKind::kLinear, AttentionKind::kFocused}) {
      const WanTransformerConfig config = tiny(kind);
      WanTransformer model(config);
      ParamList params;
      model.params(params);
      make_meta(params, dtype);
      const at::Tensor latents = at::empty({1, config.in_channels, 3, 6, 4}, meta);
      EXPECT_EQ(
          model(latents, at::empty({1}, meta.dtype(at::kFloat)), at::empty({1, 5, config.text_dim}, meta)).sizes(),
          latents.sizes());
    }
    CausalMhlaConfig config;
    config.hidden_size = 16;
    config.heads = 2;
    config.chunk = 4;
    CausalMhlaLayer layer(config);
    ParamList params;
    layer.params(params, "");
    make_meta(params, dtype);
    EXPECT_EQ(layer(at::empty({2, 9, 16}, meta)).sizes(), at::IntArrayRef({2, 9, 16}));
    CausalMhlaState state = layer.begin();
    EXPECT_EQ(layer.step(at::empty({2, 16}, meta), state).sizes(), at::IntArrayRef({2, 16}));
  }
}

TEST(Vit, RunsOnTheMetaDevice) {
  test::use_meta_kernels();
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto kind : {AttentionKind::kMhla, AttentionKind::kFocused}) {
      VitConfig config;
      config.attention = kind;
      config.image = kind == AttentionKind::kMhla ? 224 : 256;
      Vit model(config);
      ParamList params;
      model.params(params);
      make_meta(params, dtype);
      const at::Tensor images = at::empty({2, 3, config.image, config.image}, at::TensorOptions().device(at::kMeta));
      EXPECT_EQ(model(images).sizes(), at::IntArrayRef({2, 1000}));
      EXPECT_ANY_THROW(model(at::empty({2, 3, 100, 100}, images.options())));
    }
}

}  // namespace
}  // namespace tessera
