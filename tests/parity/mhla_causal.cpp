// Causal MHLA of the MHLA repository's language part: the operator in chunks and token by token, and the layer.
#include "models/attention/causal_mhla.h"
#include "tests/support/causal_mhla.h"

namespace tessera {
namespace {

constexpr double kTolerance = 1e-5;

at::Tensor token_by_token(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, CausalMhlaState state) {
  std::vector<at::Tensor> out;
  for (int64_t t = 0; t < q.size(1); ++t) out.push_back(state.step(q.select(1, t), k.select(1, t), v.select(1, t)));
  return at::stack(out, 1);
}

TEST(MhlaCausalParity, Operator) {
  const test::Fixture fixture("mhla_causal");
  for (const auto& op : fixture.config.at("ops")) {
    const auto name = op.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const at::Tensor q = fixture[name + ".q"], k = fixture[name + ".k"], v = fixture[name + ".v"];
    const at::Tensor mixing = fixture[name + ".mixing_matrix"];
    const int64_t chunk = op.at("chunk");
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
    EXPECT_CLOSE(causal_mhla(q, k, v, mixing, chunk, scale), fixture[name + ".out"], kTolerance);
    const at::Tensor steps = token_by_token(q, k, v, {mixing, chunk, scale});
    EXPECT_CLOSE(steps, fixture[name + ".out"], kTolerance);
    if (const at::Tensor* first = fixture.io.find(name + ".out_recurrent_first_chunk"))
      EXPECT_CLOSE(steps.narrow(1, 0, first->size(1)), *first, kTolerance);
  }
}

TEST(MhlaCausalParity, Layer) {
  const test::Fixture fixture("mhla_causal");
  for (const auto& layer : fixture.config.at("layers")) {
    const auto name = layer.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const TensorFile weights = test::part_of(fixture.weights(), name + ".");
    CausalMhlaLayer module(test::causal_config<CausalMhlaConfig>(layer, weights.at("mixing_matrix")));
    test::load(module, weights);

    const at::Tensor x = fixture[name + ".x"];
    EXPECT_CLOSE(module(x), fixture[name + ".out"], kTolerance);
    CausalMhlaState state = module.begin();
    std::vector<at::Tensor> out;
    for (int64_t t = 0; t < x.size(1); ++t) out.push_back(module.step(x.select(1, t), state));
    EXPECT_CLOSE(at::stack(out, 1), fixture[name + ".out"], kTolerance);
  }
}

}  // namespace
}  // namespace tessera
