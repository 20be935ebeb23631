// MHLA's DiT from both of its training checkpoints: the network, and guidance over all channels.
#include "models/attention/blocks.h"
#include "models/dit/dit.h"
#include "samplers/guidance.h"
#include "tests/support/dit.h"
#include "tests/support/fixture.h"
#include "tests/support/guided_model.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

constexpr double kTolerance = 2e-5;

struct DitMhla : testing::TestWithParam<const char*> {
  test::Fixture fixture{"dit_mhla"};
  TensorFile tensors{original_dit_tensors(read_torch_archive(fixture.folder / GetParam()))};
  Dit model{test::bound<Dit>(test::mhla_dit_config(fixture.config.at("model"), tensors), tensors)};
};

TEST_P(DitMhla, TheNetworkEqualsTheReference) {
  EXPECT_CLOSE(model(fixture["x"], fixture["t"], fixture["y"]), fixture["out"], kTolerance);
}

TEST_P(DitMhla, GuidanceChangesAllChannelsOfTheNoise) {
  if (!fixture.has("cfg_out")) return;  // a model without a row for no class cannot be guided
  const at::Tensor x = fixture["cfg_x"], classes = fixture["cfg_y"], want = fixture["cfg_out"];
  const int64_t batch = x.size(0) / 2;
  const GuidanceConfig guidance{.scale = fixture.config.at("cfg_scale"), .channels = x.size(1)};
  test::GuidedModel guided(
      guidance,
      [&](const at::Tensor& z, const at::Tensor&, const at::Tensor& y) {
        return model(z, fixture["cfg_t"].narrow(0, 0, z.size(0)), y);  // without guidance half of the batch
      },
      classes.narrow(0, 0, batch), classes.narrow(0, batch, batch));
  EXPECT_CLOSE(guided(x.narrow(0, 0, batch), 0, 0, 1), want.narrow(0, 0, batch), kTolerance);
}

TEST_P(DitMhla, BlocksAreTheReferencesTokenOrder) {
  const DitConfig& config = model.config();
  const int64_t grid = config.grid();
  const BlockGrid cut = cut_into_blocks(config.attention, {1, grid, grid});
  const at::Tensor raster = at::arange(grid * grid, at::kFloat).view({1, -1, 1});
  EXPECT_TRUE(at::equal(group_blocks(raster, 1, cut).flatten().to(at::kLong), fixture["token_order"]));
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, DitMhla, testing::Values("checkpoint.pt", "checkpoint_train.pt"),
                         [](const auto& test) { return test.index == 0 ? "ModelAndEma" : "Training"; });

}  // namespace
}  // namespace tessera
