#include "models/umt5/umt5.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/errors.h"

namespace tessera {
namespace {

Umt5Config small_config() {
  Umt5Config config;
  config.vocab_size = 11;
  config.d_model = 12;
  config.d_kv = 5;  // 3 heads of 5 are not 12
  config.d_ff = 20;
  config.num_layers = 2;
  config.num_heads = 3;
  return config;
}

nlohmann::json small_json() {
  return {{"vocab_size", 11}, {"d_model", 12}, {"d_kv", 5}, {"d_ff", 20}, {"num_layers", 2}, {"num_heads", 3}};
}

struct Fresh {
  Umt5Encoder encoder{small_config()};
  ParamList list;
  Fresh() {
    encoder.params(list);
    initialize(list, 7, at::kCPU);
  }
};

at::Tensor tokens(std::vector<int64_t> ids) {
  const int64_t count = static_cast<int64_t>(ids.size());
  return at::tensor(ids, at::kLong).view({1, count});
}

TEST(Umt5PositionBuckets, MatchTheRuleByHand) {
  // 32 buckets: 16 a direction, 8 of them exact, the rest 8 + floor(8 log(d / 8) / log 16).
  const at::Tensor buckets = umt5_position_buckets(200, 32, 128);
  const auto bucket = [&](int64_t query, int64_t key) { return buckets[query][key].item<int64_t>(); };
  EXPECT_EQ(bucket(5, 5), 0);
  EXPECT_EQ(bucket(5, 4), 1);
  EXPECT_EQ(bucket(5, 6), 17);
  EXPECT_EQ(bucket(50, 43), 7);
  EXPECT_EQ(bucket(50, 42), 8);
  EXPECT_EQ(bucket(50, 66), 26);  // 16 away: exactly 8 + 2
  EXPECT_EQ(bucket(0, 127), 31);  // 8 + floor(7.98)
  EXPECT_EQ(bucket(199, 0), 15);  // beyond max_distance
  EXPECT_EQ(bucket(100, 84), 10);
}

TEST(Umt5Attention, ScoresAreTheUnscaledProductPlusTheBias) {
  Umt5Config config = small_config();
  config.d_model = config.d_kv = 2;
  config.num_heads = 1;
  Umt5Attention attention;
  ParamList list;
  attention.params(list, "", config);
  initialize(list, 0, at::kCPU);
  for (Linear* linear : {&attention.q, &attention.k, &attention.v, &attention.o}) linear->weight = at::eye(2);
  attention.relative_attention_bias = at::zeros({32, 1});
  attention.relative_attention_bias[1] = std::log(3.0);   // the token before
  attention.relative_attention_bias[17] = std::log(0.5);  // the token after
  const at::Tensor x = at::eye(2).unsqueeze(0) * std::sqrt(std::log(2.0));
  const at::Tensor out = attention(x, umt5_position_buckets(2, 32, 128), {}) / std::sqrt(std::log(2.0));
  // Scores: log 2 with itself, 0 with the other; weights 2 : 1/2 for the first token, 3 : 2 for the second.
  const at::Tensor expected = at::tensor({0.8, 0.2, 0.6, 0.4}, at::kFloat).view({1, 2, 2});
  EXPECT_TRUE(at::allclose(out, expected, 1e-5, 1e-6)) << out;
}

TEST(Umt5Attention, HiddenKeysHaveNoWeight) {
  const Fresh fresh;
  const at::Tensor mask = at::tensor(std::vector<int64_t>{1, 1, 1, 0, 0}, at::kLong).view({1, 5});
  const at::Tensor padded = fresh.encoder.forward(tokens({4, 9, 1, 0, 0}), mask);
  const at::Tensor other = fresh.encoder.forward(tokens({4, 9, 1, 7, 3}), mask);
  const at::Tensor alone = fresh.encoder.forward(tokens({4, 9, 1}), {});
  EXPECT_TRUE(at::allclose(padded.narrow(1, 0, 3), alone, 1e-5, 1e-5));
  EXPECT_TRUE(at::equal(padded.narrow(1, 0, 3), other.narrow(1, 0, 3)));
  const at::Tensor zeroed = zero_padding(padded, mask);
  EXPECT_TRUE(at::equal(zeroed.narrow(1, 0, 3), padded.narrow(1, 0, 3)));
  EXPECT_EQ(zeroed.narrow(1, 3, 2).abs().max().item<float>(), 0.0F);
}

TEST(Umt5Encoder, ListsTheNamesOfTransformers) {
  Umt5Encoder encoder(small_config());
  ParamList list;
  encoder.params(list, "text.");
  const auto names = list.names();
  EXPECT_EQ(names.front(), "text.shared.weight");
  EXPECT_EQ(names.back(), "text.encoder.final_layer_norm.weight");
  EXPECT_EQ(names.size(), 2u + 2u * 10u);
  for (const char* name : {"text.encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
                           "text.encoder.block.0.layer.1.DenseReluDense.wi_1.weight"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  // Table 11*12, two layers of 4 * 12*15 + 32*3 + 3 * 12*20 + 2 * 12, and the last norm.
  EXPECT_EQ(list.count(), 132 + 2 * (720 + 96 + 720 + 24) + 12);
}

TEST(Umt5Encoder, UntrainedStatesSeeTheOrderOfTheOtherTokens) {
  const Fresh fresh;
  const at::Tensor one = fresh.encoder.forward(tokens({2, 5, 8, 1}), {}).select(1, 3);
  const at::Tensor two = fresh.encoder.forward(tokens({5, 2, 8, 1}), {}).select(1, 3);
  EXPECT_GT(((one - two).norm() / one.norm()).item<float>(), 0.02F);
}

TEST(Umt5Encoder, RunsInBfloat16CloseToFloat32) {
  const Fresh fresh;
  const at::Tensor ids = tokens({2, 5, 8, 3, 1});
  const at::Tensor wide = fresh.encoder.forward(ids, {});
  const at::Tensor narrow = fresh.encoder.forward(ids, {}, at::kBFloat16);
  EXPECT_EQ(wide.scalar_type(), at::kFloat);
  EXPECT_EQ(narrow.scalar_type(), at::kBFloat16);
  EXPECT_LT(((wide - narrow.to(at::kFloat)).norm() / wide.norm()).item<float>(), 0.03F);
}

TEST(Umt5Encoder, RunsOnTheMetaDevice) {
  Umt5Encoder encoder(small_config());
  ParamList list;
  encoder.params(list);
  make_meta(list, at::kBFloat16);
  const auto meta = at::TensorOptions().dtype(at::kLong).device(at::kMeta);
  const at::Tensor mask = at::empty({2, 6}, meta);
  const at::Tensor states = zero_padding(encoder.forward(at::empty({2, 6}, meta), mask), mask);
  EXPECT_EQ(states.sizes(), at::IntArrayRef({2, 6, 12}));
  EXPECT_EQ(states.scalar_type(), at::kBFloat16);
}

TEST(Umt5Encoder, GradientsReachEveryWeight) {
  const Fresh fresh;
  for (const auto& param : fresh.list) param.slot->set_requires_grad(true);
  fresh.encoder.forward(tokens({2, 5, 8, 3, 1}), {}, at::kBFloat16).to(at::kFloat).square().sum().backward();
  for (const auto& param : fresh.list) {
    ASSERT_TRUE(param.slot->grad().defined()) << param.name;
    EXPECT_GT(param.slot->grad().abs().max().item<float>(), 0.0F) << param.name;
  }
}

TEST(Umt5Encoder, RejectsIdsOfTheWrongShapeOrType) {
  const Fresh fresh;
  EXPECT_THROW(fresh.encoder.forward(at::zeros({4}, at::kLong), {}), c10::Error);
  EXPECT_THROW(fresh.encoder.forward(at::zeros({1, 4}, at::kInt), {}), c10::Error);
  EXPECT_THROW(fresh.encoder.forward(tokens({1, 2}), at::ones({1, 3}, at::kLong)), c10::Error);
}

TEST(Umt5Config, ReadsSizesAndDefaults) {
  const Umt5Config config = Umt5Config::from_json({small_json(), "config.json"});
  EXPECT_EQ(config.d_kv, 5);
  EXPECT_EQ(config.relative_attention_num_buckets, 32);
  EXPECT_EQ(config.relative_attention_max_distance, 128);
  EXPECT_DOUBLE_EQ(config.layer_norm_epsilon, 1e-6);
}

TEST(Umt5Config, NamesTheKeyThatIsWrong) {
  const auto message = [](const char* key, nlohmann::json value) {
    nlohmann::json json = small_json();
    json[key] = std::move(value);
    return test::refusal_of([&] { Umt5Config::from_json({json, "text_encoder/config.json"}); });
  };
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, nlohmann::json>>{{"d_model", "wide"},
                                                           {"num_layers", 0},
                                                           {"vocab_size", nullptr},
                                                           {"feed_forward_proj", "relu"},
                                                           {"relative_attention_num_buckets", 6},
                                                           {"relative_attention_max_distance", 8}}) {
    EXPECT_NE(message(key, value).find(key), std::string::npos) << message(key, value);
    EXPECT_NE(message(key, value).find("text_encoder/config.json"), std::string::npos) << message(key, value);
  }
}

}  // namespace
}  // namespace tessera
