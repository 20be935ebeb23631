#include "models/kl/autoencoder_kl.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/meta_kernels.h"

namespace tessera {
namespace {

AutoencoderKlConfig small_config() {
  return AutoencoderKlConfig::from_json(
      {{{"block_out_channels", {8, 16, 16}}, {"layers_per_block", 1}, {"norm_num_groups", 4}}, "config.json"});
}

ParamList list(AutoencoderKl& vae) {
  ParamList params;
  vae.params(params);
  return params;
}

std::string refusal(const nlohmann::json& json) {
  return test::refusal_of([&] { AutoencoderKlConfig::from_json({json, "config.json"}); });
}

TEST(AutoencoderKl, RefusesWhatItIsNot) {
  EXPECT_NE(refusal({{"down_block_types", {"AttnDownEncoderBlock2D"}}}).find("down_block_types"), std::string::npos);
  EXPECT_NE(refusal({{"act_fn", "relu"}}).find("act_fn"), std::string::npos);
  EXPECT_NE(refusal({{"latents_mean", {0, 0, 0, 0}}}).find("latents_mean"), std::string::npos);
  EXPECT_NE(refusal({{"block_out_channels", {48}}}).find("norm_num_groups"), std::string::npos);
  EXPECT_NE(refusal({{"block_out_channels", nlohmann::json::array()}}).find("block_out_channels"), std::string::npos);
  EXPECT_NE(refusal({{"scaling_factor", 0}}).find("scaling_factor"), std::string::npos);
  EXPECT_EQ(refusal({{"block_out_channels", {32, 64}}}), "accepted");
}

TEST(AutoencoderKl, RunsOnTheMetaDeviceInBothPrecisions) {
  test::use_meta_kernels();
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    AutoencoderKl vae(small_config());
    make_meta(list(vae), dtype);
    const auto options = at::TensorOptions().device(at::kMeta).dtype(dtype);
    const KlMoments moments = vae.encode(at::empty({2, 3, 24, 40}, options));
    EXPECT_EQ(moments.mean.sizes(), at::IntArrayRef({2, 4, 6, 10}));
    for (const at::Tensor& image : {vae.decode(moments.mean), vae.decode_tiled(moments.mean, 16)}) {
      EXPECT_EQ(image.sizes(), at::IntArrayRef({2, 3, 24, 40}));
      EXPECT_EQ(image.scalar_type(), dtype);
      EXPECT_TRUE(image.is_meta());
    }
  }
}

TEST(AutoencoderKl, Bfloat16StaysNearFloat32) {
  AutoencoderKl vae(small_config());
  initialize(list(vae), 1, at::kCPU);
  const at::Tensor latents = at::randn({1, 4, 8, 8});
  const at::Tensor exact = vae.decode(latents), close = vae.decode(latents.to(at::kBFloat16));
  EXPECT_EQ(close.scalar_type(), at::kBFloat16);
  EXPECT_LT(test::relative_error(close, exact), 0.05);
}

TEST(AutoencoderKl, APictureWithinATileIsDecodedWhole) {
  AutoencoderKl vae(small_config());
  initialize(list(vae), 2, at::kCPU);
  const at::Tensor latents = at::randn({1, 4, 8, 6});
  EXPECT_TRUE(at::equal(vae.decode_tiled(latents, 32), vae.decode(latents)));
  EXPECT_THROW(vae.decode_tiled(latents, 15), c10::Error);
}

/// The largest step between neighboring columns, at the given ones and elsewhere.
std::pair<double, double> steps(const at::Tensor& image, const std::vector<int64_t>& columns) {
  const int64_t width = image.size(3);
  const at::Tensor step = (image.narrow(3, 1, width - 1) - image.narrow(3, 0, width - 1)).abs().amax({0, 1, 2});
  double at_seams = 0, elsewhere = 0;
  for (int64_t i = 0; i < width - 1; ++i) {
    const bool seam = std::find(columns.begin(), columns.end(), i + 1) != columns.end();
    double& largest = seam ? at_seams : elsewhere;
    largest = std::max(largest, step[i].item<double>());
  }
  return {at_seams, elsewhere};
}

TEST(AutoencoderKl, TilesLeaveNoSeams) {
  AutoencoderKl vae(small_config());
  const ParamList params = list(vae);
  initialize(params, 3, at::kCPU);
  // As in trained networks, blocks change what they are given a little; random ones drown it.
  for (const auto& param : params)
    if (param.name.find("conv2.weight") != std::string::npos) param.slot->mul_(0.1);
  // Brightness rises from left to right, so that tiles with statistics of their own would differ most.
  const at::Tensor slope = at::linspace(-3, 3, 48).view({1, 1, 1, 48}).expand({1, 4, 24, 48});
  const at::Tensor latents = slope + 0.05 * at::randn({1, 4, 24, 48}, at::make_generator<at::CPUGeneratorImpl>(1));
  const at::Tensor whole = vae.decode(latents), tiled = vae.decode_tiled(latents, 64);  // tiles of 16 cells, 4 shared
  ASSERT_EQ(tiled.sizes(), whole.sizes());
  EXPECT_LT(test::relative_error(tiled, whole), 0.4);
  std::vector<int64_t> borders;  // where tiles begin and end, in pixels
  for (const int64_t cell : {0, 10, 21, 32})
    for (const int64_t border : {cell * 4, (cell + 16) * 4})
      if (border > 0 && border < 192) borders.push_back(border);
  const auto [at_seams, elsewhere] = steps(tiled, borders);
  EXPECT_LT(at_seams, 1.05 * elsewhere);
}

}  // namespace
}  // namespace tessera
