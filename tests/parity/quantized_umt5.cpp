// The UMT5 encoder with weights from quantized files, against transformers with what the reference packages unpack.
#include "kernels/packed.h"
#include "models/umt5/umt5.h"
#include "tests/support/fixture.h"
#include "weights/model_dir.h"
#include "weights/names.h"

namespace tessera {
namespace {

TEST(QuantizedUmt5Parity, EveryFile) {
  const test::Fixture fixture{"quantized_umt5"};
  const std::vector<std::string> cases = fixture.config.at("cases");
  ASSERT_FALSE(cases.empty());
  for (const std::string& file : cases) {
    SCOPED_TRACE(file);
    Umt5Encoder encoder(Umt5Config::from_json({fixture.config.at("model"), "model"}));
    const TensorFile tensors = canonical_tensors(read_tensors(fixture.folder / file), "UMT5EncoderModel");
    EXPECT_NE(packed_weight(tensors.at("shared.weight")), nullptr);
    test::load(encoder, tensors);
    EXPECT_CLOSE(encoder.forward(fixture["ids"], fixture["mask"]), fixture["out." + file], 2e-5);
  }
}

}  // namespace
}  // namespace tessera
