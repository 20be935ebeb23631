// Pillow's bytes, the resizes of pytorch-fid, torch-fidelity and clean-fid, and these tools' scores of two sets of
// files.
#include "media/picture.h"
#include "metrics/frechet.h"
#include "metrics/image_features.h"
#include "metrics/inception_extractor.h"
#include "metrics/inception_score.h"
#include "metrics/kid.h"
#include "metrics/neighbors.h"
#include "metrics/protocol.h"
#include "tests/support/fixture.h"
#include "tests/support/inception_weights.h"

namespace tessera {
namespace {

struct ProtocolsParity : testing::Test {
  test::Fixture fixture{(std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "protocols").string()};

  ImageFeatures measure(const std::string& set, const Extractor& extractor, const Protocol& protocol) const {
    ImageSetOptions options;
    options.keep_features = options.keep_logits = true;
    return measure_images(find_images(fixture.folder / set), extractor, protocol, options, [](int64_t) {});
  }
};

TEST_F(ProtocolsParity, EveryKindOfFileDecodesToPillowsBytes) {
  ASSERT_GE(fixture.config.at("pictures").size(), 20u);
  for (const auto& name : fixture.config.at("pictures")) {
    const std::string file = name;
    const at::Tensor found = read_picture(fixture.folder / "pictures" / file), wanted = fixture["decoded." + file];
    ASSERT_EQ(found.sizes(), wanted.sizes()) << file;
    EXPECT_TRUE(at::equal(found, wanted))
        << file << " differs by up to " << (found.to(at::kInt) - wanted.to(at::kInt)).abs().max().item<int>();
  }
}

TEST_F(ProtocolsParity, EveryResizeEqualsItsTool) {
  const int64_t step = fixture.config.at("step");
  for (const std::string& protocol : protocol_names())
    for (const auto& name : fixture.config.at("pictures")) {
      const std::string file = name;
      SCOPED_TRACE(protocol + " " + file);
      const at::Tensor all = find_protocol(protocol).resize(fixture["decoded." + file], 299);
      const at::Tensor found = all.slice(1, 0, 299, step).slice(2, 0, 299, step);
      ASSERT_EQ(found.sizes(), fixture[protocol + "." + file].sizes());
      EXPECT_LE((found - fixture[protocol + "." + file]).abs().max().item<double>(), 2e-3);  // of 255
    }
}

TEST_F(ProtocolsParity, ScoresOfFoldersEqualTheTools) {
  const TensorFile weights(test::formula_weights(fixture.config.at("seed").get<uint32_t>()), "formula");
  for (const auto& [name, expected] : fixture.config.at("fid").items()) {
    SCOPED_TRACE(name);
    if (name == "pytorch-fid") continue;  // parity.inception and the program's own test have it
    const Protocol& protocol = find_protocol(name);
    const InceptionExtractor extractor(weights, "", protocol, 2048, at::kFloat);
    const ImageFeatures a = measure("set_a", extractor, protocol), b = measure("set_b", extractor, protocol);
    const double fid = frechet_distance(a.all.gaussian(CovarianceDivisor::kCountMinusOne),
                                        b.all.gaussian(CovarianceDivisor::kCountMinusOne));
    EXPECT_NEAR(fid, expected.get<double>(), 1e-3 * expected.get<double>());
    if (name != "torch-fidelity") continue;
    const nlohmann::json& tool = fixture.config.at("torch-fidelity");
    const double kid = tool.at("kernel_inception_distance_mean"), is = tool.at("inception_score_mean");
    EXPECT_NEAR(kernel_distance(a.pool->rows(), b.pool->rows(), {100, 14, 2020}).mean, kid, 1e-4 * std::abs(kid));
    EXPECT_NEAR(inception_score(a.logits->rows(), 10, 2020).mean, is, 1e-5 * is);
    EXPECT_DOUBLE_EQ(neighbor_scores(a.pool->rows(), b.pool->rows(), 3).precision, tool.at("precision"));
  }
}

}  // namespace
}  // namespace tessera
