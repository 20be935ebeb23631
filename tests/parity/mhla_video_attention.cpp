// MHLA_Video_Uni of the MHLA repository: plain, gated and LePE, normalized or not, and its initial mixing matrices.
#include "models/attention/mixing.h"
#include "models/attention/rope.h"
#include "tests/support/fixture.h"
#include "tests/support/video_attention.h"

namespace tessera {
namespace {

TEST(MhlaVideoAttentionParity, EveryCase) {
  const test::Fixture fixture("mhla_video_attention");
  const TensorFile weights = fixture.weights();
  ASSERT_FALSE(fixture.config.at("cases").empty());
  for (const auto& json : fixture.config.at("cases")) {
    const auto name = json.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const at::Tensor out = test::video_attention(fixture, json, weights, at::kFloat, at::kCPU);
    EXPECT_CLOSE(out, fixture[name + ".out"], 1e-5);
    if (!fixture.has(name + ".mixing_init")) continue;
    const AttentionConfig config = test::video_attention_config(json);
    EXPECT_CLOSE(initial_mixing(config.block_layout, config.transform), fixture[name + ".mixing_init"], 1e-6);
  }
}

/// mixing_init.<frames>x<height>x<width>.<transform>; the fixture keeps every seventh row of the large layouts.
TEST(MhlaVideoAttentionParity, InitialMixing) {
  const test::Fixture fixture("mhla_video_attention");
  size_t seen = 0;
  for (const std::string& name : fixture.io.names()) {
    Extent3 layout{};
    char transform[16] = {};
    if (std::sscanf(name.c_str(), "mixing_init.%ldx%ldx%ld.%15s", &layout[0], &layout[1], &layout[2], transform) != 4)
      continue;
    SCOPED_TRACE(name);
    ++seen;
    at::Tensor mixing = initial_mixing(layout, test::kTransforms.at(transform));
    if (fixture[name].size(0) != mixing.size(0)) mixing = mixing.slice(0, 0, c10::nullopt, 7);
    EXPECT_CLOSE(mixing, fixture[name], 1e-6);
  }
  EXPECT_GT(seen, 0u);
}

/// The fixture's angle table has one row a position and the columns of all three axes.
TEST(MhlaVideoAttentionParity, RotaryAngles) {
  const test::Fixture fixture("mhla_video_attention");
  for (const auto& json : fixture.config.at("cases")) {
    const auto name = json.at("name").get<std::string>();
    SCOPED_TRACE(name);
    if (!fixture.has(name + ".rope_angles_cos")) continue;
    const at::Tensor cosines = fixture[name + ".rope_angles_cos"], sines = fixture[name + ".rope_angles_sin"];
    const int64_t rows = cosines.size(0), pairs = cosines.size(1), third = pairs / 3;
    const Extent3 sizes{pairs - 2 * third, third, third};
    for (size_t axis = 0, column = 0; axis < 3; column += sizes[axis++]) {
      Extent3 line{1, 1, 1};
      line[axis] = rows;
      const auto columns = [&](const at::Tensor& t) { return t.narrow(-1, column, sizes[axis]); };
      const at::Tensor table = make_rope(line, 2 * pairs, at::kCPU).table.squeeze(1);
      EXPECT_CLOSE(columns(at::real(table)), columns(cosines), 1e-6);
      EXPECT_CLOSE(columns(at::imag(table)), columns(sines), 1e-6);
    }
  }
}

}  // namespace
}  // namespace tessera
