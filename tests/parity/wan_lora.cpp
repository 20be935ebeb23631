// diffusers' loader of LoRAs for WanTransformer3DModel: every layout, stacks and strengths. The weights are switched
// from case to case in one network, as a batch does.
#include "checkpoints/wan/loras.h"
#include "models/wan/transformer.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

struct WanLoraParity : testing::Test {
  test::Fixture fixture{"wan_lora"};
  WanTransformerConfig config = WanTransformerConfig::from_json({fixture.config.at("model"), "model"});
  WanTransformer model{config};
  LoraShelf shelf = [&] {
    std::vector<LoraNames> networks;
    networks.push_back(lora_names(config));
    return LoraShelf(std::move(networks));
  }();
  LoraWeights weights{kLoraTransformer, fixture.weights(), at::kFloat, at::kCPU};

  void SetUp() override { test::load(model, fixture.weights()); }

  std::vector<LoraUse> loras_of(const nlohmann::json& entry) const {
    std::vector<LoraUse> loras;
    for (const auto& lora : entry.at("loras"))
      loras.push_back(
          {.path = fixture.folder / lora.at("file").get<std::string>(), .strength = lora.at("strength").get<double>()});
    return loras;
  }

  at::Tensor output() const { return model(fixture["x"], fixture["t"], fixture["context"]); }
};

TEST_F(WanLoraParity, EveryCase) {
  ASSERT_FALSE(fixture.config.at("cases").empty());
  for (const auto& entry : fixture.config.at("cases")) {
    const std::string name = entry.at("name");
    SCOPED_TRACE(name);
    const std::vector<LoraUse> loras = loras_of(entry);
    for (const LoraUse& use : loras) EXPECT_TRUE(shelf.open(use.path).unmatched.empty());
    weights.apply_to(model, loras, shelf);
    EXPECT_CLOSE(output(), fixture[name + ".out"], 2e-5);
  }
}

TEST_F(WanLoraParity, WithoutLorasTheWeightsAreThoseOfTheFileBitForBit) {
  const at::Tensor before = output();
  for (const auto& entry : fixture.config.at("cases")) weights.apply_to(model, loras_of(entry), shelf);
  weights.apply_to(model, {}, shelf);
  ParamList params;
  model.params(params);
  const TensorFile file = fixture.weights();
  for (const Param& param : params) EXPECT_TRUE(at::equal(*param.slot, file.at(param.name))) << param.name;
  EXPECT_TRUE(at::equal(output(), before));
}

}  // namespace
}  // namespace tessera
