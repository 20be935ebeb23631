#include "models/wan/latent_rgb.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/wan/vae.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

LatentRgb read(const nlohmann::json& json, int64_t channels = 2) {
  return read_latent_rgb({json, "vae/config.json"}, channels, /*wan21=*/false);
}

TEST(LatentRgb, IsLinearAndShownFromZeroToOne) {
  const LatentRgb rgb =
      read({{"latent_rgb_factors", {{1.0, 0.0, -0.5}, {0.0, 2, 0.25}}}, {"latent_rgb_factors_bias", {0.1, -1, 0}}});
  const at::Tensor latents = at::tensor({0.5F, 0.2F, -1.0F, 4.0F}).view({1, 2, 1, 1, 2});  // two cells
  const at::Tensor out = rgb(latents);
  ASSERT_EQ(out.sizes(), at::IntArrayRef({1, 3, 1, 1, 2}));
  // First cell (0.5, -1): (0.6, -3, -0.5); second (0.2, 4): (0.3, 7, 0.9). Halved, moved by a half, cut.
  const at::Tensor expected = at::tensor({0.8F, 0.65F, 0.0F, 1.0F, 0.25F, 0.95F}).view({1, 3, 1, 1, 2});
  EXPECT_TRUE(at::allclose(out, expected, 1e-5, 1e-6)) << out;
}

TEST(LatentRgb, IsWansWhereTheLatentsAre) {
  const WanVaeConfig wan = WanVaeConfig::from_json({nlohmann::json::object(), "vae/config.json"});
  ASSERT_EQ(wan.latent_rgb.factors.size(), 16u);
  EXPECT_EQ(wan.latent_rgb.factors[6], (std::array<double, 3>{-0.3477, -0.4059, -0.2925}));
  EXPECT_EQ(wan.latent_rgb.bias, (std::array<double, 3>{-0.1835, -0.0868, -0.3360}));
  nlohmann::json other = {{"latents_mean", std::vector<double>(16, 0.0)}};
  EXPECT_TRUE(WanVaeConfig::from_json({other, "vae/config.json"}).latent_rgb.factors.empty());
  other["latent_rgb_factors"] = std::vector<std::vector<double>>(16, {0.5, 0, 0});
  EXPECT_EQ(WanVaeConfig::from_json({other, "vae/config.json"}).latent_rgb.factors.size(), 16u);
}

TEST(LatentRgb, NamesTheFileAndKeyOfWhatIsWrong) {
  const std::string rows = "vae/config.json: \"latent_rgb_factors\" must hold z_dim = 2 rows of three numbers";
  for (const nlohmann::json& wrong : std::vector<nlohmann::json>{3,
                                                                 "red",
                                                                 {1, 2, 3},
                                                                 {{1, 2, 3}},
                                                                 {{1, 2, 3}, {1, 2}},
                                                                 {{1, 2, 3}, {1, 2, "x"}},
                                                                 {{1, 2, 3}, {1, 2, 3}, {1, 2, 3}}})
    EXPECT_EQ(test::error_of([&] { read({{"latent_rgb_factors", wrong}}); }).rfind(rows, 0), 0u) << wrong;
  const nlohmann::json good = {{1, 2, 3}, {4, 5, 6}};
  EXPECT_NE(test::error_of([&] {
              read({{"latent_rgb_factors", good}, {"latent_rgb_factors_bias", {1, 2}}});
            }).find("\"latent_rgb_factors_bias\" must hold three numbers"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] {
              read({{"latent_rgb_factors_bias", {1, 2, 3}}});
            }).find("latent_rgb_factors_bias"),
            std::string::npos);
  EXPECT_THROW(LatentRgb{}(at::zeros({1, 2, 1})), c10::Error);
}

}  // namespace
}  // namespace tessera
