// --dtype int8: how far networks of the parity fixtures move from float32, beside what bfloat16 alone does. The
// fixtures are narrow (16 to 64 channels), where one scale for a row of numbers is coarser than in real models.
#include "kernels/packed.h"
#include "models/dit/dit.h"
#include "models/umt5/umt5.h"
#include "models/wan/transformer.h"
#include "tests/support/dit.h"
#include "tests/support/fixture.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

/// |a - b| / |b| over all numbers.
double error_of(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_TRUE(a.isfinite().all().item<bool>());
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).norm() / wide.norm()).item<double>();
}

template <class Model>
void load_int8(Model& model, const TensorFile& tensors) {
  ParamList params;
  model.params(params, "");
  bind(params, tensors, at::kBFloat16, at::kCPU, /*check_finite=*/true, /*int8=*/true);
  int64_t quantized = 0;
  for (const Param& param : params) {
    const PackedWeight* weight = packed_weight(*param.slot);
    EXPECT_EQ(weight && weight->type == PackedType::kInt8Panels, param.takes_int8) << param.name;
    EXPECT_TRUE(!param.takes_int8 || param.name.find("block") != std::string::npos) << param.name;
    for (const char* part : {"embed", "emb.", "norm", "proj_out", "time", "modulation"})
      EXPECT_TRUE(!param.takes_int8 || param.name.find(part) == std::string::npos) << param.name;
    quantized += param.takes_int8;
  }
  EXPECT_GT(quantized, 5);
}

/// Loads the weights in bfloat16 and in int8, and compares run(model) with `want`.
template <class Model, class Run>
void expect_near_bfloat16(Model& model, const TensorFile& tensors, const at::Tensor& want, const Run& run,
                          double most) {
  test::load(model, tensors, at::kBFloat16);
  const double bfloat16 = error_of(run(model), want);
  load_int8(model, tensors);
  const double int8 = error_of(run(model), want);
  std::printf("error against float32: bfloat16 %.4f, int8 %.4f\n", bfloat16, int8);
  EXPECT_LT(int8, most);
  EXPECT_LT(bfloat16, int8) << "int8 was not used";
}

TEST(Int8Parity, WanTransformer) {
  const test::Fixture fixture("wan_transformer");
  WanTransformer model(WanTransformerConfig::from_json({fixture.config.at("model"), "model"}));
  const auto run = [&](const WanTransformer& network) {
    return network(fixture["x"].to(at::kBFloat16), fixture["t"], fixture["context"]);
  };
  expect_near_bfloat16(model, fixture.weights(), fixture["out"], run, 0.03);
}

TEST(Int8Parity, Dit) {
  const test::Fixture fixture("dit_original");
  const TensorFile tensors = original_dit_tensors(read_torch_archive(fixture.folder / "checkpoint.pt"));
  Dit model(test::original_dit_config(fixture.config.at("model"), tensors));
  const auto run = [&](const Dit& network) {
    return network(fixture["x"].to(at::kBFloat16), fixture["t"], fixture["y"]);
  };
  expect_near_bfloat16(model, tensors, fixture["out"], run, 0.03);
}

TEST(Int8Parity, Umt5) {
  const test::Fixture fixture("umt5_encoder");
  Umt5Encoder model(Umt5Config::from_json({fixture.config.at("model"), "model"}));
  const auto rows = at::tensor(fixture.config.at("encoded_prompts").get<std::vector<int64_t>>());
  const at::Tensor mask = fixture["mask"].index_select(0, rows);
  const auto seen = [&](const at::Tensor& states) { return zero_padding(states.to(at::kFloat), mask); };
  const auto run = [&](const Umt5Encoder& network) {
    return seen(network.forward(fixture["ids"].index_select(0, rows), mask));
  };
  expect_near_bfloat16(model, fixture.weights(), seen(fixture["hidden"]), run, 0.05);
}

}  // namespace
}  // namespace tessera
