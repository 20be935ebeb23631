#include "models/umt5/tokenizer.h"
#include "models/umt5/umt5.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

struct Umt5EncoderParity : testing::Test {
  test::Fixture fixture{"umt5_encoder"};
  Umt5Encoder encoder{Umt5Config::from_json({fixture.config.at("model"), "model"})};

  void SetUp() override { test::load(encoder, fixture.weights()); }
  /// Rows of `name` that belong to the prompts whose states were recorded.
  at::Tensor encoded(const std::string& name) const {
    return fixture[name].index_select(0, at::tensor(fixture.config.at("encoded_prompts").get<std::vector<int64_t>>()));
  }
};

TEST_F(Umt5EncoderParity, IdsOfEveryPromptAreEqual) {
  const Tokenizer tokenizer(fixture.folder / "spiece.model");
  const auto prompts = fixture.config.at("prompts").get<std::vector<std::string>>();
  const auto expected = fixture.config.at("sp_ids").get<std::vector<std::vector<int64_t>>>();
  ASSERT_FALSE(prompts.empty());
  ASSERT_EQ(prompts.size(), expected.size());
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(tokenizer.encode(prompts[i]), expected[i]) << prompts[i];

  const TokenBatch batch = tokenizer.encode_batch(prompts, fixture.config.at("max_length").get<int64_t>());
  EXPECT_TRUE(at::equal(batch.ids, fixture["ids"]));
  EXPECT_TRUE(at::equal(batch.mask, fixture["mask"]));
}

TEST_F(Umt5EncoderParity, StatesWithTheMask) {
  EXPECT_CLOSE(encoder.forward(encoded("ids"), encoded("mask")), fixture["hidden"], 2e-5);
}

TEST_F(Umt5EncoderParity, StatesWithoutAMask) {
  if (!fixture.has("hidden_no_mask")) return;
  EXPECT_CLOSE(encoder.forward(encoded("ids"), {}), fixture["hidden_no_mask"], 2e-5);
}

TEST_F(Umt5EncoderParity, StatesWithPaddingZeroed) {
  if (!fixture.has("hidden_zeroed")) return;
  const at::Tensor states = zero_padding(encoder.forward(encoded("ids"), encoded("mask")), encoded("mask"));
  EXPECT_CLOSE(states, fixture["hidden_zeroed"], 2e-5);
}

}  // namespace
}  // namespace tessera
