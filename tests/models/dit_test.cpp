#include "models/dit/dit.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/meta_kernels.h"

namespace tessera {
namespace {

nlohmann::json small_json() {
  return {{"num_attention_heads", 2},
          {"attention_head_dim", 8},
          {"in_channels", 4},
          {"out_channels", 8},
          {"num_layers", 2},
          {"sample_size", 16},
          {"patch_size", 2},
          {"num_embeds_ada_norm", 10},
          {"norm_eps", 1e-6},
          {"attention_bias", true},
          {"norm_type", "ada_norm_zero"}};
}

DitConfig parsed(const nlohmann::json& json) {
  return DitConfig::from_json({json, "config.json"});
}

ParamList list(Dit& model) {
  ParamList params;
  model.params(params);
  return params;
}

std::string refusal(const std::string& key, const nlohmann::json& value) {
  nlohmann::json json = small_json();
  json[key] = value;
  return test::refusal_of([&] { parsed(json); });
}

const std::vector<nlohmann::json>& attention_kinds() {
  static const std::vector<nlohmann::json> kinds = {
      nlohmann::json(),
      {{"kind", "mhla"}, {"block_layout", {1, 2, 2}}, {"lepe", true}, {"normalizer", "products"}},
      {{"kind", "mhla"}, {"block_layout", {1, 3, 3}}, {"qk_norm", true}, {"softmax_layers", {0}}},
      {{"kind", "linear"}},
      {{"kind", "focused"}, {"focusing_factor", 3}, {"kernel_size", 5}}};
  return kinds;
}

TEST(Dit, RefusesWhatItIsNot) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"norm_type", "ada_norm"},
           {"activation_fn", "gelu"},
           {"norm_elementwise_affine", true},
           {"cross_attention_dim", 768},
           {"out_channels", 5},
           {"sample_size", 15},
           {"patch_size", 0},
           {"num_layers", "many"},
           {"mlp_ratio", -1},
           {"downscale_freq_shift", 2},
           {"attention", {{"kind", "mhla"}, {"block_layout", {2, 2, 2}}}},
           {"attention", {{"kind", "mhla"}, {"block_layout", {1, 2, 2}}, {"gated", true}}},
           {"attention", {{"kind", "linear"}, {"softmax_layers", {2}}}}})
    EXPECT_NE(refusal(key, value), "accepted") << key;
  EXPECT_EQ(refusal("patch_size", 4), "accepted");
}

TEST(Dit, ConfigSurvivesItsJson) {
  for (const auto& attention : attention_kinds()) {
    nlohmann::json json = small_json();
    if (!attention.is_null()) json["attention"] = attention;
    json["downscale_freq_shift"] = 0;
    json["position_embedding"] = true;
    const nlohmann::ordered_json written = parsed(json).to_json();
    EXPECT_EQ(parsed(nlohmann::json(written)).to_json(), written);
  }
}

TEST(Dit, EveryKindRunsOnTheMetaDeviceInBothPrecisions) {
  test::use_meta_kernels();
  for (const auto& attention : attention_kinds()) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(attention.dump());
      nlohmann::json json = small_json();
      if (!attention.is_null()) json["attention"] = attention;
      Dit model(parsed(json));
      make_meta(list(model), dtype);
      const auto options = at::TensorOptions().device(at::kMeta);
      const at::Tensor out = model(at::empty({3, 4, 16, 16}, options.dtype(dtype)), at::empty({3}, options),
                                   at::empty({3}, options.dtype(at::kLong)));
      EXPECT_EQ(out.sizes(), at::IntArrayRef({3, 8, 16, 16}));
      EXPECT_EQ(out.scalar_type(), dtype);
      EXPECT_TRUE(out.is_meta());
    }
  }
}

TEST(Dit, EveryKindIsFiniteAndEveryWeightLearns) {
  for (const auto& attention : attention_kinds()) {
    SCOPED_TRACE(attention.dump());
    nlohmann::json json = small_json();
    if (!attention.is_null()) json["attention"] = attention;
    Dit model(parsed(json));
    const ParamList params = list(model);
    initialize(params, 1, at::kCPU);
    // The zeros of adaLN-zero would hide every other weight.
    for (const auto& param : params)
      *param.slot = (*param.slot + 0.05 * at::randn(param.slot->sizes())).detach().requires_grad_();
    const at::Tensor x = at::randn({2, 4, 16, 16});
    const at::Tensor out = model(x, at::tensor({3.0F, 990.0F}), at::tensor({1, 10}, at::kLong));
    EXPECT_TRUE(out.isfinite().all().item<bool>());
    (out * at::randn(out.sizes())).sum().backward();
    for (const auto& param : params) {
      ASSERT_TRUE(param.slot->grad().defined()) << param.name;
      EXPECT_GT(param.slot->grad().abs().sum().item<float>(), 0.0F) << param.name;
    }
  }
}

TEST(Dit, Bfloat16StaysNearFloat32) {
  Dit model(parsed(small_json()));
  const ParamList params = list(model);
  initialize(params, 2, at::kCPU);
  for (const auto& param : params) *param.slot = *param.slot + 0.05 * at::randn(param.slot->sizes());
  const at::Tensor x = at::randn({1, 4, 16, 16}), t = at::tensor({500.0F}), label = at::tensor({4}, at::kLong);
  EXPECT_LT(test::relative_error(model(x.to(at::kBFloat16), t, label), model(x, t, label)), 0.05);
}

TEST(Dit, StartsAsZeroNoise) {
  Dit model(parsed(small_json()));
  initialize(list(model), 1, at::kCPU);
  const at::Tensor out = model(at::randn({1, 4, 16, 16}), at::tensor({10.0F}), at::tensor({0}, at::kLong));
  EXPECT_EQ(out.abs().max().item<float>(), 0.0F);
}

TEST(DitPositions, AreSinesThenCosinesOfColumnThenRow) {
  const at::Tensor positions = sincos_positions(3, 8, at::kCPU);  // rates 1 and 0.01
  ASSERT_EQ(positions.sizes(), at::IntArrayRef({1, 9, 8}));
  const at::Tensor token = positions[0][5];  // row 1, column 2
  const std::vector<double> want = {std::sin(2.0), std::sin(0.02), std::cos(2.0), std::cos(0.02),
                                    std::sin(1.0), std::sin(0.01), std::cos(1.0), std::cos(0.01)};
  for (int64_t i = 0; i < 8; ++i) EXPECT_NEAR(token[i].item<double>(), want[static_cast<size_t>(i)], 1e-6);
}

TEST(DitTimestep, ShiftDividesByOneFewer) {
  const at::Tensor t = at::tensor({3.0F});
  // size 4: rates 1 and 10000^(-1/2) = 0.01 without, 10000^(-1/1) = 0.0001 with the shift; cosines first.
  const at::Tensor plain = dit_timestep_sinusoid(t, 4, 0)[0], shifted = dit_timestep_sinusoid(t, 4, 1)[0];
  EXPECT_NEAR(plain[0].item<double>(), std::cos(3.0), 1e-6);
  EXPECT_NEAR(plain[3].item<double>(), std::sin(0.03), 1e-6);
  EXPECT_NEAR(shifted[2].item<double>(), std::sin(3.0), 1e-6);
  EXPECT_NEAR(shifted[3].item<double>(), std::sin(0.0003), 1e-7);
}

}  // namespace
}  // namespace tessera
