// One network by itself: files and folders become folders of diffusers' layout that load.
#include <nlohmann/json.hpp>

#include "checkpoints/component.h"
#include "media/image_io.h"
#include "pipelines/families/families.h"
#include "tests/support/process.h"
#include "tests/support/shards.h"
#include "tests/support/wan_release.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::fixture_folder;
using test::ProcessResult;

const std::string kCheckpoint = std::string(TESSERA_SOURCE_DIR) + "/tests/data/classifier/model_best.pth.tar";

struct ConvertComponent : testing::Test {
  test::TemporaryFolder folder;
  const fs::path wan = fixture_folder() / "wan_pipeline" / "pipeline", dit = fixture_folder() / "dit_pipeline/pipeline";

  void convert(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"convert", "--quiet"});
    const ProcessResult result = test::tessera(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  /// One line that names every part; nothing is left of the output.
  void expect_refused(std::vector<std::string> arguments, const std::vector<std::string>& parts) const {
    arguments.insert(arguments.begin(), {"convert", "--quiet"});
    const ProcessResult result = test::tessera(arguments);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const std::string& part : parts)
      EXPECT_NE(result.err.find(part), std::string::npos) << part << " in " << result.err;
    EXPECT_FALSE(fs::exists(folder / "out"));
    for (const auto& entry : fs::directory_iterator(folder.path()))
      EXPECT_NE(entry.path().extension(), ".part") << entry.path();
  }

  json info(const fs::path& path) const {
    const ProcessResult result = test::tessera({"info", "--json", path});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? json::parse(result.out) : json::object();
  }

  /// The folder is a component of that class, loads, and has these tensors in `dtype`.
  void expect_component(const fs::path& out, const std::string& class_name, const TensorFile& want,
                        at::ScalarType dtype) const {
    SCOPED_TRACE(out);
    const json shown = info(out);
    EXPECT_EQ(shown.at("layout"), "component");
    EXPECT_EQ(shown.at("class"), class_name);
    const Component part = open_component(out);
    EXPECT_NO_THROW(check_component(part, families(), WeightCheck::kNumbers));
    const TensorFile got = read_part(part, families());
    ASSERT_EQ(got.names(), want.names());
    for (const auto& [name, tensor] : got.tensors()) {
      EXPECT_EQ(tensor.scalar_type(), dtype) << name;
      EXPECT_TRUE(at::equal(tensor, want.at(name).to(dtype))) << name;
    }
  }
};

TEST_F(ConvertComponent, FoldersInAnotherPrecision) {
  for (const auto& [model, name] : {std::pair(wan, "text_encoder"), std::pair(wan, "transformer"),
                                    std::pair(wan, "vae"), std::pair(dit, "transformer"), std::pair(dit, "vae")}) {
    const Component from = open_component(model / name);
    const fs::path out = folder / (model.parent_path().filename().string() + name);
    convert({from.folder, out, "--dtype", "bf16"});
    expect_component(out, from.class_name, read_part(from, families()), at::kBFloat16);
    const json was = from.config().json(), is = open_component(out).config().json();
    for (const auto& [key, value] : is.items())
      if (was.contains(key)) {
        EXPECT_EQ(value, was.at(key)) << key;
      }
  }
}

TEST_F(ConvertComponent, FilesOfWansRelease) {
  const test::WanRelease release(wan);
  release.write_parts(folder.path());
  const ModelDir pipeline = open_model_dir(wan);
  convert({folder / "Wan2.1_VAE.pth", folder / "vae"});
  expect_component(folder / "vae", "AutoencoderKLWan", read_part(pipeline.component("vae"), families()), at::kFloat);
  convert({folder / "models_t5_umt5-xxl-enc-bf16.pth", folder / "text", "--dtype", "fp32"});
  const TensorFile text = read_part(open_component(folder / "text"), families());
  const TensorFile source = read_part(pipeline.component("text_encoder"), families());
  for (const auto& [name, tensor] : source.tensors())
    EXPECT_TRUE(at::equal(text.at(name), tensor.to(at::kBFloat16).to(at::kFloat))) << name;
  EXPECT_TRUE(fs::exists(folder / "text/model.safetensors"));
  EXPECT_EQ(info(folder / "Wan2.1_VAE.pth").at("class"), "AutoencoderKLWan");
  EXPECT_EQ(info(folder / "models_t5_umt5-xxl-enc-bf16.pth").at("class"), "UMT5EncoderModel");
}

TEST_F(ConvertComponent, AFileTakesTheConfigBesideIt) {
  convert({dit / "vae/diffusion_pytorch_model.safetensors", folder / "kl"});
  expect_component(folder / "kl", "AutoencoderKL", read_part(open_component(dit / "vae"), families()), at::kFloat);
  convert({wan / "vae/diffusion_pytorch_model.safetensors", folder / "wan"});
  const json config = open_component(folder / "wan").config().json();
  EXPECT_EQ(config, open_component(wan / "vae").config().json());
  fs::copy_file(fixture_folder() / "autoencoder_kl/weights.safetensors", folder / "alone.safetensors");
  EXPECT_EQ(info(folder / "alone.safetensors").at("class"), "AutoencoderKL");
  expect_refused({folder / "alone.safetensors", folder / "out"}, {"does not fit", "want [128, 3, 3, 3]"});
}

TEST_F(ConvertComponent, ATransformerAloneIsAModelThatLacksParts) {
  const std::string file = folder / "wan.safetensors";
  write_safetensors(file, test::WanRelease(wan).transformer());
  fs::copy_file(wan / "transformer/config.json", folder / "config.json");
  expect_refused({file, folder / "out"}, {"no text encoder", "no autoencoder", "--incomplete writes"});
  convert({file, folder / "out", "--incomplete"});
  expect_component(folder / "out/transformer", "WanTransformer3DModel",
                   read_part(open_model_dir(wan).component("transformer"), families()), at::kFloat);
  EXPECT_TRUE(fs::exists(folder / "out/scheduler/scheduler_config.json"));
}

struct ConvertClassifier : ConvertComponent {
  const std::string mhla = fixture_folder() / "mhla_classifier/weights.safetensors",
                    focused = fixture_folder() / "focused_deit/weights.safetensors";
  const std::string heads = read_json_object(fixture_folder() / "mhla_classifier/config.json").at("num_heads").dump();

  void SetUp() override {
    const auto random = at::make_generator<at::CPUGeneratorImpl>(5);
    write_png(folder / "a.png", at::randint(256, {90, 70, 3}, random, at::kByte));
  }
  ProcessResult classify(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"classify", folder / "a.png", "--dtype", "fp32", "--json"});
    return test::tessera(arguments);
  }
};

TEST_F(ConvertClassifier, AnswersAsItsCheckpointDoes) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> models = {
      {mhla, {"--heads", heads}}, {focused, {"--focusing-factor", "2"}}, {kCheckpoint, {"--heads", "2"}}};
  for (const auto& [weights, options] : models) {
    SCOPED_TRACE(weights);
    const std::string out = folder / fs::path(weights).parent_path().filename();
    std::vector<std::string> from = {"--weights", weights}, into = {weights, out};
    from.insert(from.end(), options.begin(), options.end());
    into.insert(into.end(), options.begin(), options.end());
    convert(into);
    EXPECT_EQ(info(out).at("class"), weights == focused ? "FocusedViT" : "MHLA_ViT");
    const ProcessResult want = classify(from), got = classify({"--weights", out});
    ASSERT_EQ(want.exit_code, 0) << want.err;
    ASSERT_EQ(got.exit_code, 0) << got.err;
    EXPECT_EQ(got.out, want.out);
  }
}

TEST_F(ConvertClassifier, InHalfPrecisionAndAgain) {
  convert({kCheckpoint, folder / "half", "--heads", "2", "--dtype", "half"});
  const TensorFile half = read_part(open_component(folder / "half"), families());
  const TensorFile averaged = read_classifier(kCheckpoint);
  ASSERT_EQ(half.names(), averaged.names());
  for (const auto& [name, tensor] : half.tensors())
    EXPECT_TRUE(tensor.scalar_type() == at::kHalf && at::equal(tensor, averaged.at(name).to(at::kHalf))) << name;
  convert({folder / "half", folder / "again", "--dtype", "float32"});
  EXPECT_EQ(classify({"--weights", folder / "again"}).out, classify({"--weights", folder / "half"}).out);
}

TEST_F(ConvertClassifier, WhatIsUnknownOrContradictsIsSaid) {
  expect_refused({mhla, folder / "out"}, {"--heads must specify"});
  expect_refused({wan, folder / "out", "--heads", "2"}, {"not a classifier", "--heads"});
  convert({focused, folder / "deit"});
  for (const auto& [option, value] : {std::pair("--focusing-factor", "4"), std::pair("--heads", "7")}) {
    const ProcessResult result = classify({"--weights", folder / "deit", option, value});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find(std::string("differs from ") + option), std::string::npos) << result.err;
  }
}

TEST_F(ConvertComponent, OtherThingsAreRefused) {
  expect_refused({fixture_folder() / "inception/io.safetensors", folder / "out"},
                 {"not a known network", "UMT5 encoder"});
  fs::copy(wan / "vae", folder / "vae", fs::copy_options::recursive);
  for (const auto& entry : fs::directory_iterator(folder / "vae"))
    fs::permissions(entry, fs::perms::owner_write, fs::perm_options::add);
  fs::remove(folder / "vae/diffusion_pytorch_model.safetensors");
  expect_refused({folder / "vae", folder / "out"}, {"has no weights"});
  std::ofstream(folder / "vae/config.json") << R"({"_class_name": "AutoencoderTiny"})";
  write_safetensors(folder / "vae/diffusion_pytorch_model.safetensors", {{"x", at::ones({2})}});
  expect_refused({folder / "vae", folder / "out"}, {"class AutoencoderTiny is not supported", "AutoencoderKLWan"});
  expect_refused({wan / "scheduler", folder / "out"}, {"no model_index.json"});
}

}  // namespace
}  // namespace tessera
