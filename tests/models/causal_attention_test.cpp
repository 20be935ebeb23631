#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "models/attention/causal.h"
#include "models/language/language_model.h"

namespace tessera {
namespace {

const std::vector<const char*> kAttentions = {
    R"({"kind": "softmax"})",          R"({"kind": "linear"})",
    R"({"kind": "focused"})",          R"({"kind": "focused", "kernel_size": 3, "focusing_factor": 2})",
    R"({"kind": "mhla", "chunk": 4})", R"({"kind": "mhla", "chunk": 4, "gated": true, "kernel_size": 3})"};

nlohmann::json small_model(const std::string& attention) {
  return {{"heads", 2},   {"head_dim", 4}, {"layers", 2},
          {"hidden", 16}, {"length", 12},  {"attention", nlohmann::json::parse(attention)}};
}

TEST(CausalAttention, LinearByHand) {
  // Every query and key is [1, 0], at rotary angles 0, 1, 2: products cos(i - j). Denominators are 1, 2, 3.
  const at::Tensor q = at::tensor({1.0, 0.0}).to(at::kDouble).expand({1, 3, 1, 2}).contiguous();
  const at::Tensor v = at::tensor({1.0, 2.0, 3.0}).to(at::kDouble).view({1, 3, 1, 1});
  for (const int64_t chunk : {1, 2, 3, 8}) {
    const at::Tensor out = causal_linear_attention(q, q, v, chunk).flatten();
    EXPECT_NEAR(out[0].item<double>(), 1.0, 1e-5) << chunk;
    EXPECT_NEAR(out[1].item<double>(), (std::cos(1.0) + 2) / 2, 1e-5) << chunk;
    EXPECT_NEAR(out[2].item<double>(), (std::cos(2.0) + 2 * std::cos(1.0) + 3) / 3, 1e-5) << chunk;
  }
}

TEST(CausalAttention, LinearEqualsItsMaskedForm) {
  at::manual_seed(1);
  const at::Tensor q = at::rand({2, 7, 3, 4}, at::kDouble), k = at::rand({2, 7, 3, 4}, at::kDouble);
  const at::Tensor v = at::randn({2, 7, 3, 4}, at::kDouble);
  const auto by_head = [](const at::Tensor& x) { return x.transpose(1, 2); };  // [B, H, T, D]
  const at::Tensor turned = at::matmul(by_head(rotary(q, 4, 0)), by_head(rotary(k, 4, 0)).mT()).tril();
  const at::Tensor sums = at::matmul(by_head(q), by_head(k).mT()).tril().sum(-1, true) + 1e-6;
  const at::Tensor expected = (at::matmul(turned, by_head(v)) / sums).transpose(1, 2);
  EXPECT_TRUE(at::allclose(causal_linear_attention(q, k, v, 3), expected, 1e-9, 1e-9));
}

TEST(CausalAttention, SoftmaxLayerEqualsItsMaskedForm) {
  CausalAttention layer({.kind = AttentionKind::kSoftmax}, 2, 4, 8);
  ParamList params;
  layer.params(params, "");
  initialize(params, 2, at::kCPU);
  std::map<std::string, at::Tensor> weights;
  for (const Param& param : params) weights[param.name] = *param.slot;
  at::manual_seed(3);
  const at::Tensor x = at::randn({2, 5, 8});
  const auto project = [&](const std::string& name, const at::Tensor& t) {
    return at::linear(t, weights.at(name + ".weight"), weights.at(name + ".bias"));
  };
  const auto by_head = [](const at::Tensor& t) { return t.transpose(1, 2); };
  const auto heads = [&](const std::string& name) { return project(name, x).unflatten(-1, {2, 4}); };
  const at::Tensor scores =
      at::matmul(by_head(rotary(heads("q"), 4, 0)), by_head(rotary(heads("k"), 4, 0)).mT()) / 2.0;  // sqrt(4)
  const at::Tensor later = at::ones({5, 5}, at::kBool).triu(1);
  const at::Tensor weighted =
      at::matmul(scores.masked_fill(later, -INFINITY).softmax(-1), by_head(heads("v"))).transpose(1, 2).flatten(2);
  EXPECT_TRUE(at::allclose(layer(x), project("o", weighted), 1e-4, 1e-5));
}

TEST(CausalAttention, ConvolutionByHand) {
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F}).view({1, 3, 1});
  const at::Tensor y = causal_depthwise(x, at::tensor({10.0F, 1.0F}).view({1, 1, 2}), at::tensor({0.5F}));
  EXPECT_TRUE(at::equal(y.flatten(), at::tensor({1.5F, 12.5F, 23.5F}))) << y;
}

TEST(CausalAttention, ALaterByteChangesNothingBefore) {
  for (const char* attention : kAttentions) {
    SCOPED_TRACE(attention);
    LanguageModel model(LanguageModelConfig::from_json(JsonConfig(small_model(attention), "model")));
    ParamList params;
    model.params(params);
    initialize(params, 3, at::kCPU);
    for (const Param& param : params)
      if (param.name.starts_with("head.")) param.slot->normal_();  // its zeros would hide everything
    at::manual_seed(4);
    const at::Tensor bytes = at::randint(0, 256, {2, 11}, at::kLong);
    at::Tensor other = bytes.clone();
    other.select(1, 7).add_(1).remainder_(256);
    const at::Tensor a = model(bytes, at::kFloat), b = model(other, at::kFloat);
    EXPECT_EQ(a.sizes(), at::IntArrayRef({2, 11, 256}));
    EXPECT_TRUE(a.isfinite().all().item<bool>());
    EXPECT_TRUE(at::allclose(a.narrow(1, 0, 7), b.narrow(1, 0, 7), 1e-5, 1e-5));
    EXPECT_FALSE(at::allclose(a.narrow(1, 7, 4), b.narrow(1, 7, 4), 1e-3, 1e-3));
  }
}

/// Heads of 4 channels do not do here: where all of them are negative, rounding decides what a token attends to.
TEST(CausalAttention, Bfloat16StaysClose) {
  for (const char* attention : kAttentions) {
    SCOPED_TRACE(attention);
    nlohmann::json config = small_model(attention);
    config["head_dim"] = 16;
    LanguageModel model(LanguageModelConfig::from_json(JsonConfig(config, "model")));
    ParamList params;
    model.params(params);
    initialize(params, 3, at::kCPU);
    for (const Param& param : params)
      if (param.name.starts_with("head.")) param.slot->normal_();
    at::manual_seed(4);
    const at::Tensor bytes = at::randint(0, 256, {2, 11}, at::kLong);
    const at::Tensor want = model(bytes, at::kFloat), found = model(bytes, at::kBFloat16);
    EXPECT_EQ(found.scalar_type(), at::kBFloat16);
    const at::Tensor error = (found.to(at::kFloat) - want).square().mean().sqrt();
    EXPECT_LE(error.item<double>(), 0.02 * want.square().mean().sqrt().item<double>());
  }
}

TEST(CausalAttention, EveryWeightLearns) {
  for (const char* attention : kAttentions) {
    SCOPED_TRACE(attention);
    LanguageModel model(LanguageModelConfig::from_json(JsonConfig(small_model(attention), "model")));
    ParamList params;
    model.params(params);
    initialize(params, 5, at::kCPU);
    for (const Param& param : params) {
      if (param.name.starts_with("head.")) param.slot->normal_();
      param.slot->requires_grad_();
    }
    at::manual_seed(6);
    const at::Tensor bytes = at::randint(0, 256, {2, 12}, at::kLong);
    model(bytes, at::kFloat).square().sum().backward();
    for (const Param& param : params) {
      ASSERT_TRUE(param.slot->grad().defined()) << param.name;
      EXPECT_TRUE(param.slot->grad().isfinite().all().item<bool>()) << param.name;
      // A key's bias that softmax does not feel would be the exception: rotary positions make it felt.
      EXPECT_GT(param.slot->grad().abs().max().item<double>(), 0.0) << param.name;
    }
  }
}

TEST(CausalAttention, ConfigErrorsNameTheKey) {
  const auto message = [](const char* text) {
    try {
      CausalAttentionConfig::from_json(JsonConfig(nlohmann::json::parse(text), "model: attention"));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(message(R"({"kind": "sofmax"})").find("softmax, linear, focused or mhla"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "softmax", "chunk": 4})").find("chunk"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "mhla", "chunk": 0})").find("chunk"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "focused", "kernel_size": -1})").find("kernel_size"), std::string::npos);
  EXPECT_EQ(message(R"({"kind": "focused", "kernel_size": 4})"), "accepted");
  nlohmann::json odd = small_model(R"({"kind": "linear"})");
  odd["head_dim"] = 5;
  EXPECT_THROW(LanguageModelConfig::from_json(JsonConfig(odd, "model")), Error);
}

}  // namespace
}  // namespace tessera
