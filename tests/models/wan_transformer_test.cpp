#include <algorithm>

#include "models/wan/transformer.h"
#include "tests/support/fixture.h"
#include "tests/support/meta_kernels.h"

namespace tessera {
namespace {

/// A small model of our own kind, trained grid 5 x 8 x 8 tokens in blocks of 1 x 4 x 4.
nlohmann::json own_config() {
  return nlohmann::json::parse(R"({
    "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 8,
    "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "position_embedding": [5, 8, 8],
    "attention": {"kind": "mhla", "block_layout": [5, 2, 2], "block_tokens": [1, 4, 4], "lepe": true}})");
}

WanTransformerConfig parsed(const nlohmann::json& json) {
  return WanTransformerConfig::from_json({json, "config.json"});
}

ParamList list(WanTransformer& model) {
  ParamList params;
  model.params(params);
  return params;
}

/// Fresh weights, then noise on every one: no zero-initialized path stays silent.
void fill(WanTransformer& model, uint64_t seed) {
  const ParamList params = list(model);
  initialize(params, seed, at::kCPU);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed + 1);
  for (const auto& param : params) *param.slot += 0.1 * at::randn(param.slot->sizes(), generator, at::kFloat);
}

at::Tensor noise(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::kFloat);
}

TEST(WanTransformer, RunsAtSizesItWasNotTrainedAt) {
  WanTransformer model(parsed(own_config()));
  fill(model, 1);
  const at::Tensor context = noise({1, 6, 8}, 2), t = at::tensor({500.0F});
  for (const auto& [height, width] :
       std::vector<std::pair<int64_t, int64_t>>{{128, 128}, {96, 128}, {160, 160}, {32, 272}}) {
    for (const int64_t frames : {1, 5, 17, 33}) {
      const at::Tensor x = noise({1, 4, (frames - 1) / 4 + 1, height / 8, width / 8}, 3);
      SCOPED_TRACE(testing::Message() << width << "x" << height << "x" << frames);
      const at::Tensor out = model(x, t, context);
      ASSERT_EQ(out.sizes(), x.sizes());
      EXPECT_TRUE(out.isfinite().all().item<bool>());
    }
  }
}

/// What image models add works with every kind of self-attention, and each frame follows its own time.
TEST(WanTransformer, TakesImageStatesAndATimeForEachFrame) {
  for (const char* kind : {"mhla", "linear", "softmax"}) {
    SCOPED_TRACE(kind);
    nlohmann::json json = own_config();
    if (kind != std::string("mhla")) json["attention"] = {{"kind", kind}};
    json.update({{"image_dim", 6}, {"added_kv_proj_dim", 24}, {"in_channels", 9}, {"out_channels", 4}});
    WanTransformer model(parsed(json));
    fill(model, 1);
    const at::Tensor x = noise({2, 9, 3, 8, 8}, 2), context = noise({2, 6, 8}, 3), image = noise({2, 5, 6}, 4);
    const at::Tensor times = at::tensor({0.0F, 500.0F, 500.0F}).expand({2, 3}), one = at::full({2}, 500.0F);
    const auto run = [&](const at::Tensor& t, const at::Tensor& states) {
      return model(x, t, context, nullptr, nullptr, states);
    };
    const at::Tensor out = run(one, image);
    EXPECT_EQ(out.sizes(), at::IntArrayRef({2, 4, 3, 8, 8}));
    EXPECT_CLOSE(run(one.unsqueeze(1).expand({2, 3}), image), out, 1e-5);
    EXPECT_FALSE(run(times, image).equal(out));
    EXPECT_FALSE(run(one, image * 2).equal(out));
    EXPECT_THROW(run(one, {}), c10::Error);
    EXPECT_THROW(run(one, noise({2, 5, 7}, 4)), c10::Error);
    EXPECT_THROW(run(at::full({2, 2}, 1.0F), image), c10::Error);
  }
}

TEST(WanTransformer, RunsOnTheMetaDevice) {
  test::use_meta_kernels();
  for (const char* kind : {"sums", "products", "none", "softmax", "hybrid"}) {
    nlohmann::json json = own_config();
    if (kind == std::string("softmax"))
      json.erase("attention");
    else if (kind == std::string("hybrid"))
      json["attention"]["softmax_layers"] = {0};
    else
      json["attention"]["normalizer"] = kind;
    if (json.contains("attention")) json["attention"]["gated"] = true;
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t frames : {1, 5, 9}) {
        SCOPED_TRACE(testing::Message() << kind << ", " << dtype << ", " << frames << " frames");
        WanTransformer model(parsed(json));
        make_meta(list(model), dtype);
        const auto options = at::TensorOptions().device(at::kMeta).dtype(dtype);
        const at::Tensor x = at::empty({2, 4, frames, 20, 16}, options);
        NormalizerStats stats;
        const at::Tensor out =
            model(x, at::empty({2}, options.dtype(at::kFloat)), at::empty({2, 6, 8}, options), &stats);
        EXPECT_EQ(out.sizes(), x.sizes());
        EXPECT_EQ(out.scalar_type(), dtype);
        EXPECT_TRUE(out.is_meta());
      }
    }
  }
}

TEST(WanTransformer, StartsAsTheZeroVelocity) {
  WanTransformer model(parsed(own_config()));
  initialize(list(model), 1, at::kCPU);
  const at::Tensor out = model(noise({1, 4, 2, 8, 8}, 1), at::tensor({10.0F}), noise({1, 3, 8}, 2));
  EXPECT_EQ(out.abs().max().item<float>(), 0.0F);
}

TEST(WanTransformer, EveryWeightLearns) {
  nlohmann::json json = own_config();
  json["attention"]["gated"] = true;
  json["attention"]["softmax_layers"] = {1};
  WanTransformer model(parsed(json));
  fill(model, 4);
  const ParamList params = list(model);
  for (const auto& param : params) param.slot->requires_grad_();
  const at::Tensor x = noise({2, 4, 5, 16, 16}, 5);
  (model(x, at::tensor({900.0F, 30.5F}), noise({2, 6, 8}, 6)) * noise(x.sizes(), 7)).sum().backward();
  for (const auto& param : params) {
    ASSERT_TRUE(param.slot->grad().defined()) << param.name;
    EXPECT_GT(param.slot->grad().abs().sum().item<float>(), 0.0F) << param.name;
  }
}

/// Training's form: float32 weights that require grad, bf16 latents. Output and gradients stay near those of float32.
TEST(WanTransformer, Bfloat16ActivationsOverFloat32Weights) {
  WanTransformer model(parsed(own_config()));
  fill(model, 8);
  const ParamList params = list(model);
  const at::Tensor x = noise({2, 4, 5, 16, 16}, 9), direction = noise(x.sizes(), 10);
  const at::Tensor t = at::tensor({900.0F, 30.5F}), context = noise({2, 6, 8}, 11);
  const auto run = [&](at::ScalarType dtype) {
    std::vector<at::Tensor> results;
    for (const auto& param : params) *param.slot = param.slot->detach().requires_grad_();
    const at::Tensor out = model(x.to(dtype), t, context);
    EXPECT_EQ(out.scalar_type(), dtype);
    results.push_back(out.detach().to(at::kFloat));
    (out.to(at::kFloat) * direction).sum().backward();
    for (const auto& param : params) results.push_back(param.slot->grad());
    return results;
  };
  const auto exact = run(at::kFloat), close = run(at::kBFloat16);
  EXPECT_CLOSE(close[0], exact[0], 5e-2);
  size_t i = 1;
  for (const auto& param : params) {
    EXPECT_EQ(close[i].scalar_type(), at::kFloat) << param.name;
    const at::Tensor cosine = at::cosine_similarity(close[i].flatten(), exact[i].flatten(), 0);
    EXPECT_GT(cosine.item<float>(), 0.98F) << param.name;
    ++i;
  }
}

TEST(WanTransformer, NormalizersAreCountedOverLayers) {
  WanTransformer model(parsed(own_config()));
  fill(model, 12);
  NormalizerStats stats;
  model(noise({1, 4, 1, 16, 16}, 13), at::tensor({1.0F}), noise({1, 3, 8}, 14), &stats);
  EXPECT_EQ(stats.values.sum().item<int64_t>(), 2 /* layers */ * 2 /* heads */ * 64 /* tokens */);
}

TEST(WanTransformer, ParametersOfWan21) {
  WanTransformer model(
      parsed({{"num_attention_heads", 12}, {"attention_head_dim", 128}, {"ffn_dim", 8960}, {"num_layers", 30}}));
  EXPECT_EQ(list(model).count(), 1418996800);  // WanTransformer3DModel of Wan2.1-T2V-1.3B
}

TEST(WanTransformer, NamesOfOurOwnKind) {
  nlohmann::json json = own_config();
  json["attention"]["gated"] = true;
  WanTransformer model(parsed(json));
  const auto names = list(model).names();
  for (const char* name :
       {"patch_embedding.weight", "position_embedding", "condition_embedder.time_embedder.linear_1.bias",
        "condition_embedder.time_proj.weight", "condition_embedder.text_embedder.linear_2.weight",
        "blocks.1.attn1.block_attn.conv.weight", "blocks.1.attn1.g_norm.weight", "blocks.0.attn1.g.bias",
        "blocks.0.attn1.lepe.weight", "blocks.0.attn1.to_out.0.weight", "blocks.0.attn2.norm_k.weight",
        "blocks.0.norm2.bias", "blocks.0.ffn.net.0.proj.weight", "blocks.0.ffn.net.2.weight",
        "blocks.0.scale_shift_table", "proj_out.weight", "scale_shift_table"})
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
}

TEST(WanTransformer, OutChannelsFollowInChannelsWhenNull) {
  nlohmann::json json = own_config();
  json["out_channels"] = nullptr;
  EXPECT_EQ(parsed(json).out_channels, 4);
}

TEST(WanTransformer, ConfigNamesTheKeyAtFault) {
  const auto message = [](const std::string& key, const nlohmann::json& value) -> std::string {
    nlohmann::json json = own_config();
    json[key] = value;
    try {
      parsed(json);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{{"num_layers", 0},
                                                                                      {"num_layers", "two"},
                                                                                      {"patch_size", {2, 2}},
                                                                                      {"attention_head_dim", 7},
                                                                                      {"image_dim", 1280},
                                                                                      {"added_kv_proj_dim", 24},
                                                                                      {"qk_norm", "layer_norm"},
                                                                                      {"position_embedding", {5, 8}},
                                                                                      {"attention", 3}}) {
    EXPECT_NE(message(key, value).find(key), std::string::npos) << key << " = " << value;
    EXPECT_NE(message(key, value).find("config.json"), std::string::npos) << key << " = " << value;
  }
  EXPECT_NE(message("attention", {{"kind", "mhla"}, {"block_layout", {1, 1, 1}}, {"softmax_layers", {2}}})
                .find("softmax_layers"),
            std::string::npos);
  EXPECT_NE(message("pos_embed_seq_len", 10).find("wants image_dim"), std::string::npos);
  EXPECT_EQ(message("image_dim", nullptr), "");
  EXPECT_EQ(message("rope_max_seq_len", 1024), "");
}

TEST(WanTransformer, WrongShapesAreRefused) {
  WanTransformer model(parsed(own_config()));
  fill(model, 1);
  const at::Tensor t = at::tensor({1.0F}), context = noise({1, 3, 8}, 2);
  EXPECT_THROW(model(noise({1, 4, 1, 15, 16}, 1), t, context), c10::Error);
  EXPECT_THROW(model(noise({1, 3, 1, 16, 16}, 1), t, context), c10::Error);
  EXPECT_THROW(model(noise({2, 4, 1, 16, 16}, 1), t, context), c10::Error);
  EXPECT_THROW(model(noise({1, 4, 1, 16, 16}, 1), t, noise({1, 3, 9}, 2)), c10::Error);
}

TEST(PositionEmbedding, TrainedGridAndItsFirstFramesAreExact) {
  const at::Tensor trained = noise({1, 3, 5, 2, 4}, 1);
  EXPECT_TRUE(at::equal(position_for_grid(trained, {5, 2, 4}), trained.flatten(2).mT()));
  EXPECT_TRUE(at::equal(position_for_grid(trained, {1, 2, 4}), trained.narrow(2, 0, 1).flatten(2).mT()));
}

/// Half-pixel centers: four places over two values 0 and 8 read 0, 2, 6, 8.
TEST(PositionEmbedding, OtherGridsInterpolate) {
  const at::Tensor trained = at::tensor({0.0F, 8.0F}).view({1, 1, 1, 1, 2});
  const at::Tensor expected = at::tensor({0.0F, 2.0F, 6.0F, 8.0F});
  EXPECT_CLOSE(position_for_grid(trained, {1, 1, 4}).flatten(), expected, 1e-6);
  const at::Tensor frames = trained.view({1, 1, 2, 1, 1});
  EXPECT_CLOSE(position_for_grid(frames, {4, 1, 1}).flatten(), expected, 1e-6);
}

TEST(TimestepSinusoid, ByHand) {
  // Frequencies 1 and 1/100 of size 4: cosines first.
  const at::Tensor expected =
      at::tensor({std::cos(2.5), std::cos(0.025), std::sin(2.5), std::sin(0.025)}, at::kFloat).view({1, 4});
  EXPECT_CLOSE(timestep_sinusoid(at::tensor({2.5F}), 4), expected, 1e-6);
}

}  // namespace
}  // namespace tessera
