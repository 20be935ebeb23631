// PEFT's LoRA of transformers' UMT5EncoderModel, in PEFT's own files and under the names of diffusers and kohya.
#include "checkpoints/wan/loras.h"
#include "models/umt5/umt5.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

TEST(Umt5LoraParity, EveryFileAndStrength) {
  const test::Fixture fixture{"umt5_lora"};
  const Umt5Config config = Umt5Config::from_json({fixture.config.at("model"), "model"});
  Umt5Encoder encoder(config);
  test::load(encoder, fixture.weights());
  std::vector<LoraNames> networks;
  networks.push_back(lora_names(config));
  LoraShelf shelf(std::move(networks));
  LoraWeights weights(kLoraTextEncoder, fixture.weights(), at::kFloat, at::kCPU);
  EXPECT_CLOSE(encoder.forward(fixture["ids"], {}), fixture["none.out"], 2e-5);
  ASSERT_FALSE(fixture.config.at("files").empty());
  for (const std::string file : fixture.config.at("files"))
    for (const double strength : fixture.config.at("strengths")) {
      const std::string path = fixture.folder / file, name = c10::str("@", strength, ".out");
      SCOPED_TRACE(file + name);
      weights.apply_to(encoder, {{.path = path, .strength = strength}}, shelf);
      EXPECT_TRUE(shelf.open(path).unmatched.empty());
      EXPECT_CLOSE(encoder.forward(fixture["ids"], {}), fixture[name], 2e-5);
    }
}

}  // namespace
}  // namespace tessera
