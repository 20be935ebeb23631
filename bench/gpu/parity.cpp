#include "bench/gpu/parity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/umt5/umt5.h"
#include "models/wan/vae.h"
#include "tests/support/dit.h"
#include "tests/support/video_attention.h"
#include "tests/support/wan_hybrid_model.h"

namespace tessera {
namespace {

/// What a network gave and what its reference recorded.
struct Output {
  at::Tensor actual, expected;
};

/// One fixture, and what its network computes in.
struct Setting {
  const test::Fixture& fixture;
  at::ScalarType dtype;
  at::Device device;

  /// A recorded tensor on the device; numbers in the dtype, but for times.
  at::Tensor number(const char* name) const { return fixture[name].to(device, dtype); }
  at::Tensor exact(const char* name) const { return fixture[name].to(device); }
};

std::vector<Output> wan_transformer(const Setting& set) {
  WanTransformer model(WanTransformerConfig::from_json({set.fixture.config.at("model"), "model"}));
  test::load(model, set.fixture.weights(), set.dtype, set.device);
  return {{model(set.number("x"), set.exact("t"), set.number("context")), set.fixture["out"]}};
}

std::vector<Output> wan_hybrid(const Setting& set) {
  const WanTransformer model = test::hybrid_model(set.fixture, set.dtype, set.device);
  const at::Tensor context = test::hybrid_context(set.fixture).to(set.device, set.dtype);
  return {{model(set.number("x"), set.exact("t"), context), set.fixture["out"]}};
}

std::vector<Output> video_attention(const Setting& set) {
  std::vector<Output> all;
  const TensorFile weights = set.fixture.weights();
  for (const auto& json : set.fixture.config.at("cases"))
    all.push_back({test::video_attention(set.fixture, json, weights, set.dtype, set.device),
                   set.fixture[json.at("name").get<std::string>() + ".out"]});
  return all;
}

std::vector<Output> dit(const Setting& set) {
  const TensorFile tensors = original_dit_tensors(set.fixture.weights());
  Dit model(test::mhla_dit_config(set.fixture.config.at("model"), tensors));
  test::load(model, tensors, set.dtype, set.device);
  return {{model(set.number("x"), set.exact("t"), set.exact("y")), set.fixture["out"]}};
}

std::vector<Output> umt5(const Setting& set) {
  Umt5Encoder encoder(Umt5Config::from_json({set.fixture.config.at("model"), "model"}));
  test::load(encoder, set.fixture.weights(), set.dtype, set.device);
  const auto rows = at::tensor(set.fixture.config.at("encoded_prompts").get<std::vector<int64_t>>()).to(set.device);
  const auto encoded = [&](const char* name) { return set.exact(name).index_select(0, rows); };
  return {{encoder.forward(encoded("ids"), encoded("mask")), set.fixture["hidden"]}};
}

std::vector<Output> wan_vae(const Setting& set) {
  WanVae vae(WanVaeConfig::from_json({set.fixture.config.at("model"), "model"}));
  test::load(vae, set.fixture.weights(), set.dtype, set.device);
  std::vector<Output> all;
  for (const char* clip : {"T1", "T9"}) {
    const std::string name(clip);
    const auto recorded = [&](const char* part) { return set.fixture[name + part]; };
    all.push_back({vae.encode(recorded(".x").to(set.device, set.dtype)).mean, recorded(".mean")});
    all.push_back({vae.decode(recorded(".mean").to(set.device, set.dtype)), recorded(".decoded")});
  }
  return all;
}

/// float32's bounds are those of tests/parity. bfloat16's are 3 to 5 times what a CPU gives, and twice for the VAE,
/// where many convolutions in a row round.
struct Row {
  const char* fixture;
  std::vector<Output> (*compute)(const Setting&);
  double float32, bfloat16;
};
constexpr Row kRows[] = {
    {"wan_transformer", wan_transformer, 2e-5, 4e-2},
    {"wan_mhla_hybrid", wan_hybrid, 2e-5, 4e-2},
    {"wan_mhla_hybrid_small", wan_hybrid, 2e-5, 4e-2},
    {"mhla_video_attention", video_attention, 1e-5, 4e-2},
    {"dit_mhla", dit, 2e-5, 4e-2},
    {"umt5_encoder", umt5, 2e-5, 4e-2},
    {"wan_vae", wan_vae, 5e-5, 1e-1},
};

double worst_error(const std::vector<Output>& outputs) {
  double worst = outputs.empty() ? std::numeric_limits<double>::infinity() : 0;
  for (const auto& [actual, expected] : outputs) {
    TORCH_CHECK(actual.sizes() == expected.sizes(), "parity: ", actual.sizes(), ", want ", expected.sizes());
    const double error = test::relative_error(actual.cpu(), expected);
    worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
  }
  return worst;
}

}  // namespace

std::vector<ParityFigure> measure_parity(at::Device device) {
  std::vector<ParityFigure> figures;
  for (const Row& row : kRows) {
    const test::Fixture fixture(row.fixture);
    for (const auto& [dtype, bound] : {std::pair(at::kFloat, row.float32), std::pair(at::kBFloat16, row.bfloat16)})
      figures.push_back({row.fixture, dtype, worst_error(row.compute({fixture, dtype, device})), bound});
  }
  return figures;
}

}  // namespace tessera
