// The causal autoencoder beyond its parity fixture: settings, whole clips against chunks, memory, gradients, devices,
// dtypes.
#include <c10/core/CPUAllocator.h>

#include "core/rng.h"
#include "models/wan/vae.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/meta_kernels.h"
#include "weights/bind.h"

namespace tessera {
namespace {

nlohmann::json small_vae_json() {
  return {{"base_dim", 8},     {"dim_mult", {1, 2, 4}}, {"num_res_blocks", 1}, {"temperal_downsample", {true, true}},
          {"in_channels", 12}, {"out_channels", 12},    {"patch_size", 2},     {"z_dim", 4}};
}

WanVaeConfig small_vae_config() {
  return WanVaeConfig::from_json({small_vae_json(), "config.json"});
}

std::string config_error(const std::string& key, const nlohmann::json& value) {
  nlohmann::json json = small_vae_json();
  json[key] = value;
  return test::refusal_of([&] { WanVaeConfig::from_json({json, "vae/config.json"}); });
}

/// A small model whose every weight is a random number: initial values would hide the earlier temporal taps.
struct RandomVae {
  WanVae vae;
  ParamList list;
  at::Tensor frames = at::tanh(seeded_noise({2, 3, 9, 16, 24}, 1));
  at::Tensor latents = seeded_noise({2, 4, 3, 2, 3}, 2);

  explicit RandomVae(const nlohmann::json& config = small_vae_json())
      : vae(WanVaeConfig::from_json({config, "config.json"})) {
    vae.params(list);
    uint64_t seed = 10;
    for (const Param& param : list) {
      const at::Tensor noise = seeded_noise(param.shape, seed++);
      *param.slot = param.keep_float ? noise * 0.1 + 1 : noise * 0.15;
    }
  }
};

at::Tensor decoded_by_chunks(const WanVae& vae, const at::Tensor& latents) {
  std::vector<at::Tensor> frames;
  vae.decode_chunks(latents, [&](const at::Tensor& chunk) { frames.push_back(chunk); });
  return at::cat(frames, 2);
}

TEST(WanVaeConfigTest, ReadsStridesAndDefaults) {
  const WanVaeConfig small = small_vae_config();
  EXPECT_EQ(small.spatial_stride(), 8);
  EXPECT_EQ(small.temporal_stride(), 4);
  EXPECT_EQ(small.image_channels(), 3);
  EXPECT_EQ(small.decoder_base_dim, 8);
  EXPECT_EQ(small.latents_std, std::vector<double>({1, 1, 1, 1}));
  const WanVaeConfig wan = WanVaeConfig::from_json({nlohmann::json::object(), "config.json"});
  EXPECT_EQ(wan.spatial_stride(), 8);
  EXPECT_EQ(wan.temporal_stride(), 4);
  EXPECT_EQ(wan.latents_mean.at(7), 1.5508);
}

TEST(WanVaeConfigTest, NamesTheWrongKey) {
  EXPECT_NE(config_error("is_residual", "yes").find("is_residual"), std::string::npos);
  EXPECT_EQ(config_error("latents_mean", {1, 2}),
            "vae/config.json: \"latents_mean\" must hold z_dim = 4 numbers, got [1,2]");
  EXPECT_EQ(config_error("latents_std", {1, 1, 0, 1}),
            "vae/config.json: \"latents_std\" must hold positive numbers, got [1,1,0,1]");
  EXPECT_EQ(config_error("temperal_downsample", {true}),
            "vae/config.json: \"temperal_downsample\" must hold one value fewer than dim_mult, 2, got [true]");
  EXPECT_EQ(config_error("in_channels", 3),
            "vae/config.json: \"in_channels\" must be a multiple of patch_size squared = 4, got 3");
  EXPECT_EQ(config_error("out_channels", 16), "vae/config.json: \"out_channels\" must equal in_channels = 12, got 16");
  EXPECT_EQ(config_error("base_dim", "wide"), "vae/config.json: \"base_dim\" must be a whole number, got \"wide\"");
  EXPECT_EQ(config_error("dim_mult", {1, 0, 2}),
            "vae/config.json: \"dim_mult\" must hold 1 to 16 whole numbers between 1 and 1024, got [1,0,2]");
}

// The counts are diffusers' for the same configs.
TEST(WanVaeTest, CountsParametersLikeTheReference) {
  nlohmann::json json = small_vae_json();
  json["base_dim"] = 32;
  json["z_dim"] = 16;
  WanVae small(WanVaeConfig::from_json({json, "config.json"}));
  ParamList small_list, wan_list;
  small.params(small_list);
  EXPECT_EQ(small_list.count(), 7359004);
  EXPECT_EQ(small_list.size(), 122u);
  WanVae wan(WanVaeConfig::from_json({nlohmann::json::object(), "config.json"}));
  wan.params(wan_list, "vae.");
  EXPECT_EQ(wan_list.count(), 126892531);
  EXPECT_EQ(wan_list.size(), 194u);
  EXPECT_EQ(wan_list.names().front(), "vae.encoder.conv_in.weight");
}

TEST(WanVaeConfigTest, AResidualFormHasLevelsThatFit) {
  nlohmann::json json = small_vae_json();
  json["is_residual"] = true;
  json["dim_mult"] = {1, 2, 2};
  const auto message = [&] { return test::refusal_of([&] { WanVaeConfig::from_json({json, "config.json"}); }); };
  EXPECT_EQ(message(), "accepted");
  json["dim_mult"] = {1, 3, 4};
  EXPECT_NE(message().find("\"dim_mult\" must let the channels of a cell"), std::string::npos) << message();
  json["dim_mult"] = {1, 2, 2};
  json["attn_scales"] = {1.0};
  EXPECT_NE(message().find("\"attn_scales\" must be empty"), std::string::npos) << message();
  const WanVaeConfig wan22 = WanVaeConfig::from_json(
      {{{"is_residual", true}, {"z_dim", 48}, {"patch_size", 2}, {"in_channels", 12}, {"out_channels", 12}},
       "config.json"});
  EXPECT_EQ(wan22.spatial_stride(), 16);
  EXPECT_EQ(wan22.latents_mean.at(1), -0.0052);
  EXPECT_EQ(wan22.latents_std.at(47), 0.7744);
}

TEST(WanVaeTest, CellsAverageAndSpread) {
  const at::Tensor frames = at::arange(32, at::kFloat).view({1, 2, 2, 4, 2});  // [B, T, H, W, C]
  const at::Tensor halved = average_cells(frames, 2, 2, 2);
  ASSERT_EQ(halved.sizes(), at::IntArrayRef({1, 1, 1, 2, 2}));
  // A color's eight values of the first cell: 0, 2, 8, 10 and 16 more.
  EXPECT_FLOAT_EQ(halved.flatten()[0].item<float>(), 13);
  EXPECT_FLOAT_EQ(halved.flatten()[1].item<float>(), 14);
  // A first frame alone is the second of its cell, after zeros.
  EXPECT_FLOAT_EQ(average_cells(frames.slice(1, 0, 1), 2, 2, 2).flatten()[0].item<float>(), 2.5);
  const at::Tensor spread = spread_cells(halved, 2, 2, 2);
  ASSERT_EQ(spread.sizes(), frames.sizes());
  EXPECT_TRUE(spread.slice(3, 0, 2).select(4, 0).eq(13).all().item<bool>());
}

// Golden values of tests/data/golden/wan_vae_patch.py: pixel unshuffle, encoder attention, a decoder of its own width.
TEST(WanVaeTest, MatchesTheReferenceInSettingsOfItsOwn) {
  const std::filesystem::path folder = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/golden";
  const TensorFile golden = read_safetensors(folder / "wan_vae_patch.safetensors");
  WanVae vae(WanVaeConfig::from_json(JsonConfig::read(folder / "wan_vae_patch.json")));
  test::load(vae, test::part_of(golden, "weight."));
  const WanMoments moments = vae.encode(golden.at("frames"));
  EXPECT_CLOSE(moments.mean, golden.at("mean"), 1e-5);
  EXPECT_CLOSE(moments.logvar, golden.at("logvar"), 1e-5);
  EXPECT_CLOSE(vae.decode(golden.at("mean")), golden.at("decoded"), 1e-5);
}

TEST(WanVaeTest, ChunksEqualTheWholeClip) {
  const RandomVae model;
  const WanMoments whole = model.vae.encode(model.frames), chunks = model.vae.encode_chunks(model.frames);
  EXPECT_CLOSE(chunks.mean, whole.mean, 1e-5);
  EXPECT_CLOSE(chunks.logvar, whole.logvar, 1e-5);
  EXPECT_CLOSE(decoded_by_chunks(model.vae, model.latents), model.vae.decode(model.latents), 1e-5);
}

/// As deep as the autoencoder of Wan 2.2, 16 pixels a latent pixel, with few channels.
nlohmann::json deep_vae_json() {
  nlohmann::json json = small_vae_json();
  json.update({{"base_dim", 4},
               {"dim_mult", {1, 1, 1, 1}},
               {"num_res_blocks", 2},
               {"temperal_downsample", {false, true, true}},
               {"is_residual", true}});
  return json;
}

/// A clip larger than a tile in both directions, and of a strip that is larger in one.
TEST(WanVaeTest, EncodingInTilesIsTheSame) {
  for (const bool residual : {false, true}) {
    SCOPED_TRACE(residual);
    nlohmann::json json = small_vae_json();
    json["base_dim"] = 4;
    json["dim_mult"] = {1, 1, 1};
    json["is_residual"] = residual;
    const RandomVae random(json);
    const WanVae& vae = random.vae;
    for (const auto& [height, width] : {std::pair(208, 320), std::pair(64, 264)}) {
      const at::Tensor frames = at::tanh(seeded_noise({1, 3, 5, height, width}, 3));
      const WanMoments whole = vae.encode_chunks(frames), tiles = vae.encode_tiles(frames, 192);
      EXPECT_CLOSE(tiles.mean, whole.mean, 1e-5);
      EXPECT_CLOSE(tiles.logvar, whole.logvar, 1e-5);
    }
    EXPECT_THROW(vae.encode_tiles(at::zeros({1, 3, 1, 64, 64}), 100), c10::Error);
  }
}

/// The margin of a tile is all that a latent pixel sees of its surroundings, at the published depth too.
TEST(WanVaeTest, EncodingInTilesIsTheSameAtFullDepth) {
  const RandomVae random(deep_vae_json());
  const at::Tensor frames = at::tanh(seeded_noise({1, 3, 5, 400, 560}, 3));
  const WanMoments whole = random.vae.encode_chunks(frames), tiles = random.vae.encode_tiles(frames, 384);
  EXPECT_CLOSE(tiles.mean, whole.mean, 1e-5);
  EXPECT_CLOSE(tiles.logvar, whole.logvar, 1e-5);
}

TEST(WanVaeTest, ChunksArriveInOrder) {
  const RandomVae model;
  std::vector<int64_t> lengths;
  model.vae.decode_chunks(model.latents, [&](const at::Tensor& chunk) { lengths.push_back(chunk.size(2)); });
  EXPECT_EQ(lengths, std::vector<int64_t>({1, 4, 4}));
}

TEST(WanVaeTest, LaterFramesDoNotReachEarlierOnes) {
  const RandomVae model;
  at::Tensor changed = model.frames.clone();
  changed.slice(2, 5).fill_(0.5);
  const at::Tensor before = model.vae.encode(model.frames).mean, after = model.vae.encode(changed).mean;
  EXPECT_TRUE(before.slice(2, 0, 2).equal(after.slice(2, 0, 2)));
  EXPECT_FALSE(before.equal(after));
}

TEST(WanVaeTest, RefusesShapesThatDoNotFit) {
  const RandomVae model;
  EXPECT_THROW(model.vae.encode(at::zeros({1, 3, 3, 16, 16})), c10::Error);
  EXPECT_THROW(model.vae.encode(at::zeros({1, 3, 5, 16, 20})), c10::Error);
  EXPECT_THROW(model.vae.encode(at::zeros({1, 1, 5, 16, 16})), c10::Error);
  EXPECT_THROW(model.vae.decode(at::zeros({1, 3, 2, 2, 2})), c10::Error);
}

TEST(WanVaeTest, DecodeClampsAndTheTrainingFormDoesNot) {
  const RandomVae model;
  const at::Tensor raw = model.vae.decode_unclamped(model.latents * 10);
  EXPECT_GT(raw.abs().max().item<float>(), 1.0f);
  EXPECT_TRUE(model.vae.decode(model.latents * 10).equal(raw.clamp(-1, 1)));
}

TEST(WanVaeTest, StartsAsAnImageAutoencoder) {
  WanVae vae(small_vae_config());
  ParamList list;
  vae.params(list);
  initialize(list, 3, at::kCPU);
  const at::Tensor image = at::tanh(seeded_noise({4, 3, 1, 32, 32}, 4)), latent = seeded_noise({1, 4, 1, 2, 2}, 5);
  const WanMoments moments = vae.encode(image.expand({4, 3, 5, 32, 32}));
  EXPECT_TRUE(moments.logvar.eq(-6).all().item<bool>());
  EXPECT_NEAR(moments.mean.std().item<float>(), 2.0, 1.0);
  EXPECT_CLOSE(moments.mean, vae.encode(image).mean.expand_as(moments.mean), 1e-5);
  const at::Tensor clip = vae.decode(latent.expand({1, 4, 3, 2, 2}));
  EXPECT_CLOSE(clip, vae.decode(latent).expand_as(clip), 1e-5);
}

TEST(WanVaeTest, EveryWeightGetsAGradient) {
  RandomVae model;
  for (const Param& param : model.list) param.slot->set_requires_grad(true);
  const WanMoments moments = model.vae.encode(model.frames.to(at::kBFloat16));
  const at::Tensor sampled = moments.mean + at::exp(0.5 * moments.logvar);
  (model.vae.decode_unclamped(sampled).to(at::kFloat) - model.frames).square().mean().backward();
  for (const Param& param : model.list) {
    ASSERT_TRUE(param.slot->grad().defined()) << param.name;
    EXPECT_EQ(param.slot->grad().scalar_type(), at::kFloat) << param.name;
    EXPECT_TRUE(param.slot->grad().isfinite().all().item<bool>()) << param.name;
    // A bias that only shifts a sum before a norm may have a small gradient, none has a zero one.
    EXPECT_GT(param.slot->grad().abs().max().item<float>(), 0.0f) << param.name;
  }
}

TEST(WanVaeTest, Bfloat16StaysCloseToFloat32) {
  RandomVae model;
  const at::Tensor mean = model.vae.encode(model.frames).mean, decoded = model.vae.decode_unclamped(model.latents);
  for (const Param& param : model.list)
    if (!param.keep_float) *param.slot = param.slot->to(at::kBFloat16);
  const at::Tensor half_mean = model.vae.encode(model.frames.to(at::kBFloat16)).mean;
  const at::Tensor half_decoded = model.vae.decode_unclamped(model.latents.to(at::kBFloat16));
  EXPECT_EQ(half_mean.scalar_type(), at::kBFloat16);
  EXPECT_EQ(half_decoded.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(half_mean, mean, 0.05);
  EXPECT_CLOSE(half_decoded, decoded, 0.05);
}

// Chunks come through frame_conv with the frames that the cache kept, a clip of its own in one piece.
TEST(WanVaeTest, Bfloat16ChunksAreCloseToTheWholeClip) {
  const RandomVae model;
  const at::Tensor frames = model.frames.to(at::kBFloat16), latents = model.latents.to(at::kBFloat16);
  EXPECT_CLOSE(model.vae.encode_chunks(frames).mean, model.vae.encode(frames).mean, 0.03);
  const at::Tensor first = latents.narrow(0, 0, 1);  // a cache keeps frames of one sample without copying them
  for (const at::Tensor& z : {latents, first}) EXPECT_CLOSE(decoded_by_chunks(model.vae, z), model.vae.decode(z), 0.03);
}

TEST(WanVaeTest, RunsOnTheMetaDevice) {
  test::use_meta_kernels();
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    WanVae vae(small_vae_config());
    ParamList list;
    vae.params(list);
    make_meta(list, dtype);
    const auto options = at::TensorOptions().dtype(dtype).device(at::kMeta);
    const at::Tensor frames = at::empty({1, 3, 17, 64, 48}, options), latents = at::empty({1, 4, 5, 8, 6}, options);
    for (const WanMoments& moments : {vae.encode(frames), vae.encode_chunks(frames)}) {
      EXPECT_TRUE(moments.mean.is_meta() && moments.logvar.is_meta());
      EXPECT_EQ(moments.mean.sizes(), latents.sizes());
      EXPECT_EQ(moments.mean.scalar_type(), dtype);
    }
    for (const at::Tensor& decoded : {vae.decode(latents), decoded_by_chunks(vae, latents)}) {
      EXPECT_TRUE(decoded.is_meta());
      EXPECT_EQ(decoded.sizes(), frames.sizes());
      EXPECT_EQ(decoded.scalar_type(), dtype);
    }
  }
}

/// Counts the bytes of live CPU tensors while it exists.
class PeakAllocator : public c10::Allocator {
 public:
  PeakAllocator() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, /*priority=*/1); }
  ~PeakAllocator() override { c10::SetCPUAllocator(before_, /*priority=*/1); }

  c10::DataPtr allocate(size_t bytes) override {
    auto* block = static_cast<Block*>(std::aligned_alloc(sizeof(Block), (bytes / sizeof(Block) + 2) * sizeof(Block)));
    *block = {this, bytes};
    live_ += bytes;
    peak_ = std::max(peak_, live_);
    return {block + 1, block + 1, &release, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  /// The most bytes that were live at once in `body` beyond those before it.
  template <typename Body>
  size_t peak_of(const Body& body) {
    const size_t start = peak_ = live_;
    body();
    return peak_ - start;
  }

 private:
  struct alignas(64) Block {
    PeakAllocator* owner;
    size_t bytes;
  };
  static void release(void* data) {
    Block* block = static_cast<Block*>(data) - 1;
    block->owner->live_ -= block->bytes;
    std::free(block);
  }
  c10::Allocator* before_;
  size_t live_ = 0, peak_ = 0;
};

TEST(WanVaeTest, ChunkedDecodingUsesNoMoreMemoryForLongerClips) {
  const RandomVae model;
  const at::Tensor five = seeded_noise({1, 4, 5, 4, 4}, 1), many = seeded_noise({1, 4, 33, 4, 4}, 1);
  PeakAllocator memory;
  const auto chunked = [&](const at::Tensor& latents) {
    return memory.peak_of([&] { model.vae.decode_chunks(latents, [](const at::Tensor&) {}); });
  };
  const size_t short_peak = chunked(five), long_peak = chunked(many);
  const size_t whole_peak = memory.peak_of([&] { model.vae.decode(many); });
  EXPECT_GT(short_peak, 0u);
  EXPECT_EQ(long_peak, short_peak);
  EXPECT_GT(whole_peak, 4 * long_peak);
}

TEST(CausalCacheTest, KeepsTheLastFramesOfEachLayer) {
  CausalCache cache;
  const auto frames = [](std::vector<float> values) { return at::tensor(values).view({1, -1, 1, 1, 1}); };
  cache.begin_chunk();
  EXPECT_TRUE(cache.first_chunk());
  EXPECT_TRUE(cache.extend(frames({1}), 2).equal(frames({1})));
  EXPECT_TRUE(cache.extend(frames({10}), 1).equal(frames({10})));
  cache.begin_chunk();
  EXPECT_FALSE(cache.first_chunk());
  EXPECT_TRUE(cache.extend(frames({2, 3}), 2).equal(frames({1, 2, 3})));
  EXPECT_TRUE(cache.extend(frames({20, 30}), 1).equal(frames({10, 20, 30})));
  EXPECT_EQ(cache.bytes(), 3 * 4);
}

// |(3, 4)| = 5: 3 / 5 * sqrt(2) * 2 and 4 / 5 * sqrt(2) * 0.5; silu(x) = x / (1 + exp(-x)).
TEST(ChannelNormTest, MatchesHandComputedNumbers) {
  ChannelNorm norm;
  norm.gamma = at::tensor({2.0f, 0.5f}).view({2, 1, 1, 1});
  const at::Tensor x = at::tensor({3.0f, 4.0f}).view({1, 1, 1, 1, 2});
  EXPECT_CLOSE(norm(x).flatten(), at::tensor({1.6970563f, 0.5656854f}), 1e-6);
  EXPECT_CLOSE(norm.silu(x).flatten(), at::tensor({1.4342669f, 0.3607755f}), 1e-6);
  EXPECT_TRUE(norm.silu(at::zeros_like(x)).eq(0).all().item<bool>());
}

at::Tensor decoded_by_tiles(const WanVae& vae, const at::Tensor& latents, int64_t tile) {
  std::vector<at::Tensor> frames;
  vae.decode_tiles(latents, tile, [&](const at::Tensor& chunk) { frames.push_back(chunk); });
  return at::cat(frames, 2);
}

TEST(WanVaeTiles, FramesNoLargerThanATileAreUntouched) {
  const RandomVae random;
  EXPECT_TRUE(
      at::equal(decoded_by_tiles(random.vae, random.latents, 192), decoded_by_chunks(random.vae, random.latents)));
}

/// Every weight random is the worst case: nothing damps what a tile's border does not see. Without the margin that is
/// thrown away the difference is 0.77 here.
TEST(WanVaeTiles, BlendToWhatWholeFramesGive) {
  const RandomVae random;
  const at::Tensor latents = seeded_noise({1, 4, 2, 38, 52}, 3);
  const at::Tensor whole = decoded_by_chunks(random.vae, latents);
  const at::Tensor tiled = decoded_by_tiles(random.vae, latents, 24 * 8 + 7);
  ASSERT_EQ(tiled.sizes(), whole.sizes());
  EXPECT_LE((tiled - whole).abs().max().item<double>(), 0.05);
  // Away from every overlap and border of a tile nothing differs.
  const auto corner = [](const at::Tensor& t) { return t.narrow(3, 0, 16).narrow(4, 0, 16); };
  EXPECT_LE((corner(tiled) - corner(whole)).abs().max().item<double>(), 1e-5);
}

/// 16 pixels a latent pixel, and what a level adds of its input to its output. Two blocks a level see farther: with a
/// margin of 4 the difference is 0.27 here.
TEST(WanVaeTiles, OfTheResidualFormBlendToo) {
  const RandomVae random(deep_vae_json());
  const at::Tensor latents = seeded_noise({1, 4, 2, 30, 41}, 3);
  const at::Tensor whole = decoded_by_chunks(random.vae, latents);
  const at::Tensor tiled = decoded_by_tiles(random.vae, latents, 24 * 16);
  ASSERT_EQ(tiled.sizes(), whole.sizes());
  EXPECT_EQ(whole.size(4), 41 * 16);
  EXPECT_LE((tiled - whole).abs().max().item<double>(), 0.05);
  const auto corner = [](const at::Tensor& t) { return t.narrow(3, 0, 16).narrow(4, 0, 16); };
  EXPECT_LE((corner(tiled) - corner(whole)).abs().max().item<double>(), 1e-5);
}

TEST(WanVaeTiles, ChunksArriveInOrderAndPausesBetween) {
  const RandomVae random;
  const at::Tensor latents = seeded_noise({1, 4, 3, 25, 4}, 3);
  std::vector<int64_t> sizes;
  int pauses = 0;
  random.vae.decode_tiles(
      latents, 192, [&](const at::Tensor& chunk) { sizes.push_back(chunk.size(2)); }, [&] { ++pauses; });
  EXPECT_EQ(sizes, (std::vector<int64_t>{1, 4, 4}));
  EXPECT_EQ(pauses, 2 * 3);  // two tiles of three latent frames
  EXPECT_THROW(random.vae.decode_tiles(latents, 191, [](const at::Tensor&) {}), c10::Error);
}

/// Beyond 400 frames tiles take turns: the same frames again.
TEST(WanVaeTiles, LongClipsAreTheSame) {
  nlohmann::json json = small_vae_json();
  json["base_dim"] = 1;
  json["z_dim"] = 1;
  WanVae vae(WanVaeConfig::from_json({json, "config.json"}));
  ParamList list;
  vae.params(list);
  initialize(list, 5, at::kCPU);
  const at::Tensor latents = seeded_noise({1, 1, 101, 25, 1}, 3), start = latents.narrow(2, 0, 5);
  const at::Tensor tiled = decoded_by_tiles(vae, latents, 192);
  EXPECT_EQ(tiled.size(2), 401);
  EXPECT_LE((tiled.narrow(2, 0, 17) - decoded_by_tiles(vae, start, 192)).abs().max().item<double>(), 1e-6);
  EXPECT_LE((tiled.narrow(2, 397, 4) - decoded_by_chunks(vae, latents).narrow(2, 397, 4)).abs().max().item<double>(),
            1e-3);
}

}  // namespace
}  // namespace tessera
