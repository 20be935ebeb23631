#include "checkpoints/convert.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoints/dit/model.h"
#include "checkpoints/wan/model.h"
#include "core/json_config.h"
#include "pipelines/families/dit/sampling.h"
#include "pipelines/families/families.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/recipe.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::fixture_folder;
using test::ProcessResult;
using test::TemporaryFolder;

ProcessResult convert(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "convert");
  return test::tessera(arguments);
}

/// A copy of a DiT fixture's archive with the one fact beside it that its tensors do not say.
fs::path dit_checkpoint(const TemporaryFolder& folder, const std::string& fixture, const std::string& archive) {
  const fs::path source = fixture_folder() / fixture;
  fs::copy_file(source / archive, folder / "model.pt");
  const json heads = {{"num_heads", read_json_object(source / "config.json").at("model").at("num_heads")}};
  std::ofstream(folder / "model.json") << heads;
  return folder / "model.pt";
}

fs::path small_vae() {
  return fixture_folder() / "dit_pipeline/pipeline/vae";
}

void expect_equal(const TensorFile& a, const TensorFile& b, at::ScalarType dtype) {
  ASSERT_EQ(a.names(), b.names());
  for (const auto& [name, tensor] : a.tensors())
    EXPECT_TRUE(at::equal(tensor.to(dtype), b.at(name)) && b.at(name).scalar_type() == dtype) << name;
}

std::vector<std::string> entries(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Convert, ADiffusersDirectoryInAnotherPrecision) {
  const TemporaryFolder folder;
  const fs::path source = fixture_folder() / "wan_pipeline/pipeline";
  const ProcessResult result = convert({source, folder / "out", "--dtype", "bf16"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, (folder / "out").string() + "\n");
  const WanModel from = open_wan_model(source), to = open_wan_model(folder / "out");
  for (const std::string part : {"transformer", "vae", "text_encoder"}) {
    expect_equal(read_component(from.folder.component(part)), read_component(to.folder.component(part)), at::kBFloat16);
    EXPECT_EQ(to.folder.component(part).config().json(), from.folder.component(part).config().json()) << part;
  }
  EXPECT_EQ(to.scheduler.sampler, from.scheduler.sampler);
  EXPECT_EQ(load_tokenizer(to).encode("a red star"), load_tokenizer(from).encode("a red star"));
  EXPECT_EQ(to.folder.index.json(), from.folder.index.json());
  EXPECT_EQ(entries(folder.path()), std::vector<std::string>{"out"});
}

class DitArchives : public testing::TestWithParam<std::pair<std::string, std::string>> {};
INSTANTIATE_TEST_SUITE_P(Convert, DitArchives,
                         testing::Values(std::pair("dit_original", "checkpoint.pt"),
                                         std::pair("dit_mhla", "checkpoint.pt"),
                                         std::pair("dit_mhla", "checkpoint_train.pt")));

TEST_P(DitArchives, BecomeDirectoriesThatGiveTheSamePrediction) {
  const TemporaryFolder folder;
  const fs::path checkpoint = dit_checkpoint(folder, GetParam().first, GetParam().second);
  const ProcessResult result = convert({checkpoint, folder / "out", "--vae", small_vae()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const DitModel from = open_dit_model(checkpoint, {small_vae(), {}}), to = open_dit_model(folder / "out", {});
  EXPECT_EQ(to.layout, "diffusers");
  EXPECT_EQ(to.scheduler.sampler, from.scheduler.sampler);
  EXPECT_EQ(model_defaults(to).sampler, model_defaults(from).sampler);
  EXPECT_EQ(model_defaults(to).cfg_channels, model_defaults(from).cfg_channels);
  const int64_t side = from.transformer.sample_size;
  const at::Tensor latents = at::sin(at::arange(4 * side * side).to(at::kFloat)).view({1, 4, side, side});
  const auto predict = [&](const DitModel& model) {
    return load_transformer(model, "fp32", at::kCPU).part(latents, at::tensor({500.f}), at::tensor({int64_t{3}}));
  };
  EXPECT_TRUE(at::equal(predict(from), predict(to)));
  expect_equal(read_part(from.folder.component("vae"), families()), read_part(to.folder.component("vae"), families()),
               at::kFloat);
}

TEST(Convert, WhatIsIncompleteIsRefusedUnlessAskedFor) {
  const TemporaryFolder folder;
  const fs::path checkpoint = dit_checkpoint(folder, "dit_original", "checkpoint.pt");
  const ProcessResult refused = convert({checkpoint, folder / "out"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("it has no autoencoder"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(folder / "out"));
  const ProcessResult partly = convert({checkpoint, folder / "out", "--incomplete"});
  EXPECT_EQ(partly.exit_code, 0) << partly.err;
  EXPECT_NE(partly.err.find("left out"), std::string::npos) << partly.err;
  EXPECT_EQ(entries(folder / "out"), (std::vector<std::string>{"model_index.json", "scheduler", "transformer"}));
}

TEST(Convert, AFailureLeavesNothingBehind) {
  const TemporaryFolder folder;
  const fs::path source = fixture_folder() / "wan_pipeline/pipeline";
  fs::copy(source, folder / "in", fs::copy_options::recursive);
  const fs::path weights = folder / "in/vae/diffusion_pytorch_model.safetensors";
  std::map<std::string, at::Tensor> tensors;
  {
    const TensorFile file = read_safetensors(weights);
    for (const auto& [name, tensor] : file.tensors()) tensors[name] = tensor.clone();
  }
  tensors.begin()->second.flatten()[0].fill_(1e6);
  fs::remove(weights);
  write_safetensors(weights, tensors);
  const ProcessResult overflow = convert({folder / "in", folder / "out", "--dtype", "fp16"});
  EXPECT_EQ(overflow.exit_code, 2);
  for (const std::string& part : {tensors.begin()->first, std::string("1e+06"), std::string("--dtype bf16")})
    EXPECT_NE(overflow.err.find(part), std::string::npos) << part << " in " << overflow.err;
  EXPECT_EQ(entries(folder.path()), std::vector<std::string>{"in"});

  fs::create_directory(folder / "out");
  const ProcessResult exists = convert({folder / "in", folder / "out"});
  EXPECT_EQ(exists.exit_code, 2);
  EXPECT_NE(exists.err.find("already exists"), std::string::npos) << exists.err;
  EXPECT_EQ(convert({folder / "in", folder / "new/sub/out", "--dtype", "fp16"}).exit_code, 2);
  EXPECT_FALSE(fs::exists(folder / "new")) << "made for nothing";
  EXPECT_EQ(convert({folder / "in", folder / "new/sub/out"}).exit_code, 0);
  EXPECT_EQ(convert({folder / "in", folder / "o", "--dtype", "bf61"}).exit_code, 2);
  EXPECT_EQ(convert({folder / "in", folder / "o", "--vae", small_vae()}).exit_code, 2);
}

}  // namespace
}  // namespace tessera
