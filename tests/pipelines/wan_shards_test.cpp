// Diffusers directories whose weights lie in shards, in a variant, or in both.
#include "checkpoints/load_part.h"
#include "pipelines/families/wan/text_to_video.h"
#include "tests/support/shards.h"
#include "tests/weights/support.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::shard;

const fs::path kShardedPipeline = test::fixture_folder() / "wan_pipeline" / "pipeline";

struct WanShards : testing::Test {
  test::TemporaryFolder folder;
  const ModelDir copy = test::copy_of_pipeline(folder / "model");

  at::Tensor states(const fs::path& path, const std::string& dtype) const {
    const auto encoder = load_text_encoder(open_wan_model(path), dtype, at::kCPU);
    return encode_prompt(encoder.part, {5, 6, 7, 1}, 16, at::kCPU);
  }
  void expect_weights(const std::string& name, at::ScalarType dtype) const {
    const TensorFile want = read_weights(open_model_dir(kShardedPipeline).component(name));
    const TensorFile got = read_component(open_wan_model(copy.path).folder.component(name));
    ASSERT_EQ(got.names(), want.names());
    for (const auto& [tensor_name, tensor] : got.tensors()) {
      EXPECT_EQ(tensor.scalar_type(), dtype) << tensor_name;
      EXPECT_TRUE(at::equal(tensor, want.at(tensor_name).to(dtype))) << tensor_name;
    }
  }
};

TEST_F(WanShards, AShardedTextEncoderGivesTheSameStates) {
  shard(copy.component("text_encoder"));
  expect_weights("text_encoder", at::kFloat);
  EXPECT_TRUE(at::equal(states(copy.path, "fp32"), states(kShardedPipeline, "fp32")));
}

TEST_F(WanShards, EveryNetworkInOneVariant) {
  for (const char* name : {"text_encoder", "transformer", "vae"})
    test::make_variant(copy.component(name), "bf16", at::kBFloat16);
  for (const char* name : {"text_encoder", "transformer", "vae"}) expect_weights(name, at::kBFloat16);
  const WanModel model = open_wan_model(copy.path);
  check_weights(model);
  EXPECT_EQ(load_transformer(model, "bf16", at::kCPU).dtype, at::kBFloat16);
  EXPECT_EQ(load_vae(model, "auto", at::kCPU).dtype, at::kFloat);
  EXPECT_EQ(most_common_dtype(read_component(model.folder.component("vae"))), at::kBFloat16);
}

TEST_F(WanShards, ShardsOfAVariant) {
  for (const char* name : {"text_encoder", "transformer"}) {
    shard(copy.component(name), "bf16", at::kBFloat16);
    expect_weights(name, at::kBFloat16);
  }
  EXPECT_EQ(states(copy.path, "fp32").sizes(), states(kShardedPipeline, "fp32").sizes());
}

TEST_F(WanShards, AMissingShardIsOneLine) {
  for (const std::string variant : {"", "bf16"}) {
    const ModelDir model = test::copy_of_pipeline(folder / ("missing" + variant));
    const fs::path second = shard(model.component("text_encoder"), variant);
    fs::remove(second);
    EXPECT_ERROR(load_text_encoder(open_wan_model(model.path), "fp32", at::kCPU), "missing shard " + second.string(),
                 "11 tensors", "such as encoder.", "download");
    const auto missing = missing_files(model.component("text_encoder"));
    ASSERT_EQ(missing.size(), 1u);
    EXPECT_EQ(missing[0], "missing shard " + second.string() + " (11 tensors)");
  }
}

TEST_F(WanShards, AnIndexThatNamesAMissingTensorIsOneLine) {
  const Component& part = copy.component("text_encoder");
  const fs::path second = shard(part);
  const fs::path index = part.folder / "model.safetensors.index.json";
  nlohmann::json map = read_json_object(index);
  map["weight_map"]["encoder.block.9.layer.0.layer_norm.weight"] = second.filename();
  std::ofstream(index) << map;
  EXPECT_ERROR(load_text_encoder(open_wan_model(copy.path), "fp32", at::kCPU), second.string(),
               "no tensor encoder.block.9.layer.0.layer_norm.weight", index.string());
}

TEST_F(WanShards, ATensorThatIsInNoShardIsOneLine) {
  const Component& part = copy.component("text_encoder");
  const fs::path second = shard(part);
  const fs::path index = part.folder / "model.safetensors.index.json";
  std::map<std::string, at::Tensor> rest;
  {
    const TensorFile file = read_safetensors(second);
    for (const auto& [name, tensor] : file.tensors()) rest.emplace(name, tensor.clone());
  }
  const std::string lost = rest.begin()->first;
  rest.erase(lost);
  fs::remove(second);
  write_safetensors(second, rest);
  nlohmann::json map = read_json_object(index);
  map["weight_map"].erase(lost);
  std::ofstream(index) << map;
  EXPECT_ERROR(load_text_encoder(open_wan_model(copy.path), "fp32", at::kCPU), index.string(), "missing " + lost);
}

}  // namespace
}  // namespace tessera
