#include "training/scene_size.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "models/attention/blocks.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "training/denoiser_trainer.h"
#include "training/latent_cache.h"
#include "training/vae_trainer.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;

std::vector<SceneSize> sizes_of(const nlohmann::json& list) {
  return read_scene_sizes(JsonConfig({{"scene_sizes", list}}, "config.json"), "scene_sizes");
}

TEST(SceneSize, ReadsAListAndNamesItsFiles) {
  const auto sizes =
      sizes_of({{{"width", 192}, {"height", 96}, {"count", 3}, {"batch", 2}},
                {{"width", 96}, {"height", 96}, {"frames", 17}, {"count", 5}, {"batch", 1}, {"share", 2.5}}});
  ASSERT_EQ(sizes.size(), 2u);
  EXPECT_EQ(sizes[0].text(), "192x96");
  EXPECT_EQ(sizes[0].file(), "latents_192x96x1.safetensors");
  EXPECT_FALSE(sizes[0].video());
  EXPECT_EQ(sizes[0].share, 1.0);
  EXPECT_EQ(sizes[1].text(), "96x96, 17 frames");
  EXPECT_EQ(sizes[1].count, 5);
  EXPECT_EQ(sizes[1].share, 2.5);
  EXPECT_TRUE(sizes[1].video());
}

TEST(SceneSize, ErrorsNameTheEntry) {
  const nlohmann::json good = {{"width", 32}, {"height", 32}, {"count", 1}, {"batch", 1}};
  const auto error_with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[key] = value;
    return error_of([&] { sizes_of({good, bad}); });
  };
  EXPECT_TRUE(contains(error_with("width", 8), "scene_sizes[1]: \"width\" must be at least 16"));
  EXPECT_TRUE(contains(error_with("frame", 8), "scene_sizes[1]: unknown key"));
  EXPECT_TRUE(contains(error_with("share", 0), "\"share\" must be positive"));
  EXPECT_TRUE(contains(error_with("batch", nullptr), "\"batch\" is required"));
  EXPECT_TRUE(contains(error_with("count", 2), "listed twice, 32x32"));
  EXPECT_TRUE(contains(error_of([] { sizes_of(nlohmann::json::array()); }), "must be a list of sizes"));
}

TEST(LatentCache, DrawsSpinningClipsAsOftenAsAsked) {
  LatentCache cache{11, true, at::zeros({400, 1})};
  const std::vector<int64_t> spinning = cache.rows_of(Motion::kSpin);
  EXPECT_NEAR(static_cast<double>(spinning.size()), 400 / 8.0, 20);
  std::set<int64_t> drawn;
  CounterRng rng(1, 2);
  for (int i = 0; i < 2000; ++i) drawn.insert(draw_row(cache, spinning, 1.0, rng));
  EXPECT_EQ(std::vector<int64_t>(drawn.begin(), drawn.end()), spinning);
  int found = 0;
  for (int i = 0; i < 2000; ++i) found += cache.scene(draw_row(cache, spinning, 0.5, rng)).motion == Motion::kSpin;
  EXPECT_NEAR(found / 2000.0, 0.5 + 0.5 * static_cast<double>(spinning.size()) / 400, 0.04);
  EXPECT_LT(draw_row(cache, {}, 1.0, rng), 400);
}

TEST(SceneSize, IsDrawnAsOftenAsItsShareSays) {
  std::vector<SceneSize> sizes(4);
  sizes[0].share = 1, sizes[2].share = 3;  // stills: a quarter and three
  sizes[1].frames = sizes[3].frames = 17;  // clips: half and half
  EXPECT_EQ(choose_scene_size(sizes, false, 0.0), 0u);
  EXPECT_EQ(choose_scene_size(sizes, false, 0.249), 0u);
  EXPECT_EQ(choose_scene_size(sizes, false, 0.251), 2u);
  EXPECT_EQ(choose_scene_size(sizes, false, 0.999), 2u);
  EXPECT_EQ(choose_scene_size(sizes, true, 0.49), 1u);
  EXPECT_EQ(choose_scene_size(sizes, true, 0.51), 3u);
  sizes.resize(1);
  EXPECT_THROW(choose_scene_size(sizes, true, 0.5), c10::Error);
}

TEST(SceneSize, MustFitTheAutoencoder) {
  std::vector<SceneSize> sizes(1);
  sizes[0].width = 160, sizes[0].height = 96, sizes[0].frames = 17;
  check_scene_sizes(sizes, 16, 4, "vae");
  EXPECT_TRUE(contains(error_of([&] { check_scene_sizes(sizes, 64, 4, "vae"); }), "vae: a scene of 160x96, 17 frames"));
  EXPECT_TRUE(contains(error_of([&] { check_scene_sizes(sizes, 16, 5, "vae"); }), "1 + a multiple of 5 frames"));
}

/// The bundled model trains the mixing weights of every grid that it is trained on, instead of interpolating them:
/// no size has more blocks than the matrix, and the largest has as many.
TEST(BundledConfigs, TheMixingMatrixCoversEveryGrid) {
  const std::filesystem::path configs = std::filesystem::path(TESSERA_SOURCE_DIR) / "training/configs";
  const VaeTrainConfig vae = VaeTrainConfig::read(configs / "vae.json");
  const WanVaeConfig vae_model = WanVaeConfig::from_json(JsonConfig(vae.model, "model"));
  EXPECT_EQ(vae_model.temporal_stride(), 2);
  const DenoiserTrainConfig config = DenoiserTrainConfig::read(configs / "denoiser.json");
  const Component kept = open_component(TESSERA_SOURCE_DIR "/weights/bundled/vae");
  for (const auto& [key, value] : vae.model.items()) EXPECT_EQ(kept.config().json().at(key), value) << key;
  const auto network = WanTransformerConfig::from_json(JsonConfig(config.transformer, "transformer"));
  check_scene_sizes(config.sizes, vae_model.spatial_stride() * network.patch_size[1], 2, "denoiser.json");
  const Extent3 layout = network.attention.block_layout;
  Extent3 most{0, 0, 0};
  for (const SceneSize& size : config.sizes) {
    const int64_t cell = vae_model.spatial_stride() * network.patch_size[1];
    const Extent3 grid{1 + (size.frames - 1) / 2, size.height / cell, size.width / cell};
    const Extent3 blocks = cut_into_blocks(network.attention, grid).blocks;
    for (size_t axis = 0; axis < 3; ++axis) {
      EXPECT_LE(blocks[axis], layout[axis]) << size.text();
      most[axis] = std::max(most[axis], blocks[axis]);
    }
  }
  EXPECT_EQ(most, layout);
}

}  // namespace
}  // namespace tessera
