#include "weights/model_dir.h"

#include "tests/weights/support.h"

namespace tessera {
namespace {

using nlohmann::json;
using test::error_of;
using test::read_text;
using test::TemporaryFolder;
using test::write_bytes;

/// A pipeline folder like those that diffusers writes.
class ModelFolder : public testing::Test {
 protected:
  void SetUp() override {
    write_json("model_index.json", {{"_class_name", "WanPipeline"},
                                    {"_diffusers_version", "0.42.1"},
                                    {"boundary_ratio", nullptr},
                                    {"expand_timesteps", false},
                                    {"block_size", {3, 5}},
                                    {"scheduler", {"diffusers", "UniPCMultistepScheduler"}},
                                    {"text_encoder", {"transformers", "UMT5EncoderModel"}},
                                    {"tokenizer", {"transformers", "T5TokenizerFast"}},
                                    {"transformer", {"diffusers", "WanTransformer3DModel"}},
                                    {"transformer_2", {nullptr, nullptr}},
                                    {"vae", {"diffusers", "AutoencoderKLWan"}}});
    write_json("scheduler/scheduler_config.json", {{"_class_name", "UniPCMultistepScheduler"}, {"flow_shift", 3.0}});
    write_json("text_encoder/config.json", {{"architectures", {"UMT5EncoderModel"}}, {"d_model", 8}});
    write_json("tokenizer/tokenizer_config.json", {{"tokenizer_class", "T5Tokenizer"}});
    write_bytes(folder_ / "tokenizer/spiece.model", "pieces");
    write_json("transformer/config.json", {{"_class_name", "WanTransformer3DModel"}, {"num_layers", 2}});
    write_json("vae/config.json", {{"_class_name", "AutoencoderKLWan"}, {"z_dim", 4}});
    write_safetensors(folder_ / "transformer/diffusion_pytorch_model.safetensors", {{"x", at::ones({2})}});
    write_safetensors(folder_ / "vae/diffusion_pytorch_model.safetensors", {{"y", at::ones({3})}});
    write_safetensors(folder_ / "text_encoder/model.safetensors", {{"shared.weight", at::ones({4, 8})}});
  }

  void write_json(const std::string& name, const json& value) { write_bytes(folder_ / name, value.dump(2)); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  Component part(const std::string& name) const { return open_model_dir(folder_.path()).component(name); }

  /// The transformer's weights in two shards: a and b in the first, c in the second.
  void write_shards(const json& weight_map) {
    std::filesystem::remove(folder_ / "transformer/diffusion_pytorch_model.safetensors");
    write_safetensors(folder_ / ("transformer/" + kFirst), {{"a", at::ones({1})}, {"b", at::ones({2})}});
    write_safetensors(folder_ / ("transformer/" + kSecond), {{"c", at::ones({3})}});
    write_json("transformer/diffusion_pytorch_model.safetensors.index.json",
               {{"metadata", {{"total_size", 24}}}, {"weight_map", weight_map}});
  }

  const std::string kFirst = "diffusion_pytorch_model-00001-of-00002.safetensors";
  const std::string kSecond = "diffusion_pytorch_model-00002-of-00002.safetensors";
  const json kWeightMap = {{"a", kFirst}, {"b", kFirst}, {"c", kSecond}};
  TemporaryFolder folder_;
};

TEST_F(ModelFolder, OpensEveryListedComponent) {
  const ModelDir model = open_model_dir(folder_.path());
  EXPECT_EQ(model.class_name, "WanPipeline");
  EXPECT_EQ(model.index.boolean("expand_timesteps", true), false);
  std::vector<std::string> names;
  for (const auto& component : model.components) names.push_back(component.name);
  EXPECT_EQ(names, (std::vector<std::string>{"scheduler", "text_encoder", "tokenizer", "transformer", "vae"}));
  EXPECT_EQ(model.component("transformer").class_name, "WanTransformer3DModel");
  EXPECT_EQ(model.component("text_encoder").library, "transformers");
  EXPECT_EQ(model.component("transformer").config().integer("num_layers"), 2);
  EXPECT_EQ(model.component("scheduler").config().number("flow_shift", 0), 3.0);
  EXPECT_EQ(model.component("tokenizer").config().text("tokenizer_class"), "T5Tokenizer");
  EXPECT_EQ(model.component("tokenizer").file("spiece.model"), folder_ / "tokenizer/spiece.model");
  EXPECT_EQ(read_weights(model.component("vae")).at("y").numel(), 3);
  EXPECT_EQ(read_weights(model.component("text_encoder")).at("shared.weight").numel(), 32);
  EXPECT_EQ(model.find("transformer_2"), nullptr);
  EXPECT_ERROR(model.component("image_encoder"), path("model_index.json"), "lists no image_encoder",
               "scheduler, text_encoder, tokenizer, transformer, vae");
}

TEST_F(ModelFolder, NoSuchModel) {
  EXPECT_ERROR(open_model_dir(folder_ / "nowhere"), "no such model: " + path("nowhere"), "model_index.json",
               "downloaded");
  EXPECT_ERROR(open_model_dir(folder_ / "vae/diffusion_pytorch_model.safetensors"), "is a file",
               path("vae/diffusion_pytorch_model.safetensors"));
}

TEST_F(ModelFolder, FoldersThatAreNotModels) {
  EXPECT_ERROR(open_model_dir(folder_ / "transformer"), path("transformer") + " has no model_index.json",
               "it holds config.json, diffusion_pytorch_model.safetensors", "one component",
               folder_.path().string() + ".");
  std::filesystem::create_directories(folder_ / "nothing/inside");
  EXPECT_ERROR(open_model_dir(folder_ / "nothing/inside"), path("nothing/inside") + " has no model_index.json",
               "it is empty");
  write_json("alone/transformer/config.json", json::object());
  EXPECT_ERROR(open_model_dir(folder_ / "alone/transformer"), "single component", "transformer/, vae/");
  write_bytes(folder_ / "original/Wan2.1_VAE.pth", "x");
  EXPECT_ERROR(open_model_dir(folder_ / "original"), "Wan's original release", "-Diffusers");
  for (int i = 0; i < 9; ++i) write_bytes(folder_ / ("many/" + std::to_string(i)), "");
  EXPECT_ERROR(open_model_dir(folder_ / "many"), "it holds 0, 1, 2, 3, 4, 5 and 3 more");
}

TEST_F(ModelFolder, AComponentOfAFolderNamedWithATrailingSlash) {
  EXPECT_ERROR(open_model_dir(folder_ / "transformer/"), "one component", folder_.path().string());
}

TEST_F(ModelFolder, DamagedModelIndex) {
  write_bytes(folder_ / "model_index.json", "{\"_class_name\": ");
  EXPECT_ERROR(open_model_dir(folder_.path()), path("model_index.json"), "not valid JSON");
  write_json("model_index.json", {{"vae", {"diffusers", "AutoencoderKLWan"}}});
  EXPECT_ERROR(open_model_dir(folder_.path()), path("model_index.json"), "\"_class_name\" is required");
  write_json("model_index.json", {{"_class_name", 5}});
  EXPECT_ERROR(open_model_dir(folder_.path()), path("model_index.json"), "\"_class_name\"", "got 5");
  write_json("model_index.json", {{"_class_name", "P"}, {"vae", {"diffusers", nullptr}}});
  EXPECT_ERROR(open_model_dir(folder_.path()), path("model_index.json"), "\"vae\" must be [library, class]");
  write_json("model_index.json", {{"_class_name", "P"}, {"../vae", {"diffusers", "A"}}});
  EXPECT_ERROR(open_model_dir(folder_.path()), path("model_index.json"), "\"../vae\" must be the name of a folder");
}

TEST_F(ModelFolder, MissingComponentFolder) {
  std::filesystem::remove_all(folder_ / "vae");
  EXPECT_ERROR(open_model_dir(folder_.path()), "missing folder " + path("vae"), "model_index.json", "AutoencoderKLWan",
               "transformer/");
}

TEST_F(ModelFolder, ConfigThatIsMissingOrOfAnotherClass) {
  write_json("vae/config.json", {{"_class_name", "AutoencoderKL"}});
  EXPECT_ERROR(part("vae").config(), path("vae/config.json"), "AutoencoderKL,", "lists vae as a AutoencoderKLWan");
  write_json("text_encoder/config.json", {{"architectures", {"T5EncoderModel"}}});
  EXPECT_ERROR(part("text_encoder").config(), path("text_encoder/config.json"), "T5EncoderModel", "UMT5EncoderModel");
  write_json("text_encoder/config.json", {{"architectures", "UMT5EncoderModel"}});
  EXPECT_ERROR(part("text_encoder").config(), path("text_encoder/config.json"), "\"architectures\" must be a list");
  std::filesystem::remove(folder_ / "vae/config.json");
  EXPECT_ERROR(part("vae").config(), path("vae") + " has no config.json", "diffusion_pytorch_model.safetensors");
  std::filesystem::remove(folder_ / "tokenizer/spiece.model");
  EXPECT_ERROR(part("tokenizer").file("spiece.model"), "missing " + path("tokenizer/spiece.model"),
               "tokenizer_config.json");
}

TEST_F(ModelFolder, MissingAndTruncatedWeights) {
  const auto file = folder_ / "vae/diffusion_pytorch_model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  EXPECT_ERROR(read_weights(part("vae")), file.string(), "tensor \"y\"", "truncated");
  std::filesystem::remove(file);
  write_bytes(folder_ / "vae/weights.bin", "x");
  EXPECT_ERROR(read_weights(part("vae")), path("vae") + " has no weights", "diffusion_pytorch_model.safetensors",
               "it holds config.json, weights.bin");
}

TEST_F(ModelFolder, WeightsOfTorchSaveAreReadWhereThereAreNoSafetensors) {
  const std::filesystem::path archives = TESSERA_SOURCE_DIR "/tests/data/torch_archives";
  std::filesystem::copy_file(archives / "views.pt", folder_ / "vae/diffusion_pytorch_model.bin");
  EXPECT_EQ(read_weights(part("vae")).names(), std::vector<std::string>{"y"});
  std::filesystem::remove(folder_ / "vae/diffusion_pytorch_model.safetensors");
  EXPECT_EQ(read_weights(part("vae")).at("base").sizes(), at::IntArrayRef({4, 6}));
  // transformers' names, sharded and in the older format.
  std::filesystem::remove(folder_ / "text_encoder/model.safetensors");
  const std::string first = "pytorch_model-00001-of-00002.bin", second = "pytorch_model-00002-of-00002.bin";
  std::filesystem::copy_file(archives / "views_legacy.pt", folder_ / ("text_encoder/" + first));
  std::filesystem::copy_file(archives / "dtypes.pt", folder_ / ("text_encoder/" + second));
  write_json("text_encoder/pytorch_model.bin.index.json", {{"weight_map", {{"row", first}, {"bool", second}}}});
  const TensorFile sharded = read_weights(part("text_encoder"));
  EXPECT_EQ(sharded.at("row").numel(), 6);
  EXPECT_EQ(sharded.at("bool").scalar_type(), at::kBool);
  write_bytes(folder_ / ("text_encoder/" + second), "x");
  EXPECT_ERROR(read_weights(part("text_encoder")), second, "was not written by torch.save");
}

TEST_F(ModelFolder, Variants) {
  const std::string stem = "vae/diffusion_pytorch_model";
  std::filesystem::remove(folder_ / (stem + ".safetensors"));
  write_safetensors(folder_ / (stem + ".fp16.safetensors"), {{"y", at::ones({3}, at::kHalf)}});
  EXPECT_EQ(read_weights(part("vae")).at("y").scalar_type(), at::kHalf);
  write_safetensors(folder_ / (stem + ".bf16.safetensors"), {{"y", at::ones({3}, at::kBFloat16)}});
  EXPECT_ERROR(read_weights(part("vae")), path("vae"), "several variants", "diffusion_pytorch_model.bf16.safetensors",
               "diffusion_pytorch_model.fp16.safetensors");
  write_safetensors(folder_ / (stem + ".safetensors"), {{"y", at::ones({3})}});
  EXPECT_EQ(read_weights(part("vae")).at("y").scalar_type(), at::kFloat);
}

TEST_F(ModelFolder, ShardsOfAVariant) {
  std::filesystem::remove(folder_ / "text_encoder/model.safetensors");
  write_safetensors(folder_ / "text_encoder/model.fp16-00001-of-00001.safetensors", {{"a", at::ones({1}, at::kHalf)}});
  write_json("text_encoder/model.safetensors.index.fp16.json",
             {{"weight_map", {{"a", "model.fp16-00001-of-00001.safetensors"}}}});
  EXPECT_EQ(read_weights(part("text_encoder")).at("a").scalar_type(), at::kHalf);
}

TEST_F(ModelFolder, ShardedWeights) {
  write_shards(kWeightMap);
  const TensorFile weights = read_weights(part("transformer"));
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(weights.at("c").numel(), 3);
  EXPECT_EQ(weights.where(), path("transformer/diffusion_pytorch_model.safetensors.index.json"));
}

TEST_F(ModelFolder, MissingOrDamagedShard) {
  write_shards(kWeightMap);
  const auto first = folder_ / ("transformer/" + kFirst);
  std::filesystem::resize_file(first, 40);
  EXPECT_ERROR(read_weights(part("transformer")), first.string(), "truncated");
  std::filesystem::remove(first);
  EXPECT_ERROR(read_weights(part("transformer")), "missing shard " + first.string(), ".index.json", "2 tensors",
               "such as a");
}

TEST_F(ModelFolder, ShardsThatDisagreeWithTheIndex) {
  write_shards({{"a", kFirst}, {"b", kSecond}, {"c", kSecond}});
  EXPECT_ERROR(read_weights(part("transformer")), path("transformer/" + kSecond) + " has no tensor b", ".index.json");
  write_shards(kWeightMap);
  write_safetensors(folder_ / ("transformer/" + kSecond), {{"a", at::ones({1})}, {"c", at::ones({3})}});
  EXPECT_ERROR(read_weights(part("transformer")), ".index.json", "tensor a is in two shards", kFirst, kSecond);
}

TEST_F(ModelFolder, DamagedShardIndex) {
  const std::string index = "transformer/diffusion_pytorch_model.safetensors.index.json";
  write_shards({{"a", "../elsewhere.safetensors"}});
  EXPECT_ERROR(read_weights(part("transformer")), path(index), "\"a\" must be the name of a shard", "../elsewhere");
  write_shards({{"a", 3}});
  EXPECT_ERROR(read_weights(part("transformer")), path(index), "\"a\" must be the name of a shard", "got 3");
  write_shards(json::object());
  EXPECT_ERROR(read_weights(part("transformer")), path(index), "\"weight_map\" must name at least one tensor");
  write_json(index, {{"metadata", json::object()}});
  EXPECT_ERROR(read_weights(part("transformer")), path(index), "\"weight_map\"");
}

TEST(ModelDir, WhatIsWrittenOpensAgain) {
  const TemporaryFolder folder;
  const std::filesystem::path root = folder / "new/model";
  const std::vector<Component> parts = {
      {"text_encoder", "transformers", "UMT5EncoderModel", root / "text_encoder"},
      {"vae", "diffusers", "AutoencoderKLWan", root / "vae"},
  };
  write_component(parts[0], {{"d_model", 8}}, {{"shared.weight", at::ones({4, 8})}});
  write_component(parts[1], {{"z_dim", 4}}, {{"y", at::ones({3})}}, {{"step", "7"}});
  write_model_index(root, "WanPipeline", parts);
  const ModelDir model = open_model_dir(root);
  EXPECT_EQ(model.class_name, "WanPipeline");
  EXPECT_EQ(model.component("vae").config().integer("z_dim"), 4);
  EXPECT_EQ(model.component("text_encoder").config().integer("d_model"), 8);
  EXPECT_EQ(read_weights(model.component("vae")).metadata().at("step"), "7");
  EXPECT_TRUE(std::filesystem::is_regular_file(root / "text_encoder/model.safetensors"));
  EXPECT_TRUE(std::filesystem::is_regular_file(root / "vae/diffusion_pytorch_model.safetensors"));
}

TEST(ModelDir, LargeWeightsBecomeShardsThatReadBackTheSame) {
  const TemporaryFolder folder;
  const Component part{"transformer", "diffusers", "DiTTransformer2DModel", folder / "transformer"};
  const std::map<std::string, at::Tensor> tensors = {{"a", at::arange(6).to(at::kFloat)},
                                                     {"b", at::ones({3}, at::kLong)},
                                                     {"c", at::full({8}, 0.1, at::kDouble)},
                                                     {"d", at::zeros({100})}};
  // As bf16: 12, 24 (integers stay), 16 and 200 bytes; 40 a file at most, but no tensor is cut.
  write_component(part, json::object(), tensors, {{"format", "pt"}}, at::kBFloat16, 40);
  const auto index = read_json_object(folder / "transformer/diffusion_pytorch_model.safetensors.index.json");
  EXPECT_EQ(index.at("metadata").at("total_size"), 252);
  const std::string first = "diffusion_pytorch_model-00001-of-00003.safetensors";
  EXPECT_EQ(index.at("weight_map").at("a"), first);
  EXPECT_EQ(index.at("weight_map").at("b"), first);
  EXPECT_EQ(index.at("weight_map").at("c"), "diffusion_pytorch_model-00002-of-00003.safetensors");
  EXPECT_EQ(index.at("weight_map").at("d"), "diffusion_pytorch_model-00003-of-00003.safetensors");
  EXPECT_EQ(read_safetensors(folder / ("transformer/" + first)).metadata().at("format"), "pt");
  const TensorFile back = read_weights(part);
  for (const auto& [name, tensor] : tensors)
    EXPECT_TRUE(at::equal(back.at(name), name == "b" ? tensor : tensor.to(at::kBFloat16))) << name;
  EXPECT_EQ(missing_files(part), std::vector<std::string>{});
  ASSERT_EQ(weight_files(part).size(), 4u);
  EXPECT_EQ(weight_files(part)[1], folder / ("transformer/" + first));
  std::filesystem::remove(folder / ("transformer/" + first));
  ASSERT_EQ(missing_files(part).size(), 1u);
  EXPECT_NE(missing_files(part)[0].find(first + " (2 tensors)"), std::string::npos);
}

TEST(ModelDir, AComponentOpensByItself) {
  const TemporaryFolder folder;
  for (const std::string library : {"diffusers", "transformers"}) {
    const Component written = {"part", library, "SomeClass", folder / (library + "/part")};
    write_component(written, {{"size", 1}}, {{"y", at::ones({3})}});
    for (const auto& named : {written.folder, written.folder / ""}) {
      const Component opened = open_component(named);
      EXPECT_EQ(opened.name, "part");
      EXPECT_EQ(opened.library, library);
      EXPECT_EQ(opened.class_name, "SomeClass");
      EXPECT_EQ(opened.config().integer("size"), 1);
      EXPECT_EQ(read_weights(opened).at("y").numel(), 3);
    }
  }
  write_bytes(folder / "bare/config.json", "{}");
  EXPECT_ERROR(open_component(folder / "bare"), (folder / "bare/config.json").string(), "\"_class_name\"");
  EXPECT_ERROR(open_component(folder / "none"), "no such folder: " + (folder / "none").string());
  EXPECT_ERROR(open_component(folder.path()), folder.path().string() + " has no config.json");
}

TEST(ModelDir, WritingWhereAFileStandsIsAnError) {
  const TemporaryFolder folder;
  write_bytes(folder / "file", "x");
  const Component part = {"vae", "diffusers", "AutoencoderKLWan", folder / "file/vae"};
  EXPECT_ERROR(write_component(part, json::object(), {{"y", at::ones({3})}}), "cannot write",
               (folder / "file").string());
  EXPECT_ERROR(write_model_index(folder / "file", "P", {}), "cannot write", (folder / "file").string());
  EXPECT_EQ(read_text(folder / "file"), "x");
}

}  // namespace
}  // namespace tessera
