// Wan's transformer with weights from quantized files, against diffusers with what the reference packages unpack.
#include "kernels/packed.h"
#include "models/wan/transformer.h"
#include "tests/support/fixture.h"
#include "weights/model_dir.h"
#include "weights/names.h"

namespace tessera {
namespace {

struct QuantizedWanParity : testing::Test {
  test::Fixture fixture{"quantized_wan"};

  std::vector<std::string> cases() const { return fixture.config.at("cases"); }
  TensorFile weights(const std::string& file) const {
    return canonical_tensors(read_tensors(fixture.folder / file), "WanTransformer3DModel");
  }
  WanTransformer model() const {
    return WanTransformer(WanTransformerConfig::from_json({fixture.config.at("model"), "model"}));
  }
};

TEST_F(QuantizedWanParity, EveryFile) {
  ASSERT_FALSE(cases().empty());
  for (const std::string& file : cases()) {
    SCOPED_TRACE(file);
    WanTransformer network = model();
    test::load(network, weights(file));
    EXPECT_CLOSE(network(fixture["x"], fixture["t"], fixture["context"]), fixture["out." + file], 2e-5);
  }
}

TEST_F(QuantizedWanParity, Bfloat16StaysClose) {
  for (const std::string& file : cases()) {
    SCOPED_TRACE(file);
    WanTransformer network = model();
    test::load(network, weights(file), at::kBFloat16);
    const at::Tensor out = network(fixture["x"].to(at::kBFloat16), fixture["t"], fixture["context"]);
    EXPECT_EQ(out.scalar_type(), at::kBFloat16);
    EXPECT_CLOSE(out.to(at::kFloat), fixture["out." + file], 4e-2);
  }
}

/// What a layer multiplies by stays packed; the rest of the network never sees a packed tensor.
TEST_F(QuantizedWanParity, MatricesStayPacked) {
  for (const std::string& file : cases()) {
    SCOPED_TRACE(file);
    WanTransformer network = model();
    const TensorFile tensors = weights(file);
    test::load(network, tensors);
    ParamList params;
    network.params(params);
    int64_t packed = 0;
    for (const Param& param : params) {
      const bool takes = param.packable && packed_weight(tensors.at(param.name)) != nullptr;
      EXPECT_EQ(packed_weight(*param.slot) != nullptr, takes) << param.name;
      packed += packed_weight(*param.slot) != nullptr;
    }
    EXPECT_GT(packed, 10);
  }
}

}  // namespace
}  // namespace tessera
