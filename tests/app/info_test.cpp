#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/fixture.h"
#include "tests/support/process.h"
#include "weights/npz.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::fixture_folder;
using test::ProcessResult;
using test::TemporaryFolder;

json info_json(const fs::path& path) {
  const ProcessResult result = test::tessera({"info", "--json", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.exit_code == 0 ? json::parse(result.out) : json::object();
}

void expect_text(const fs::path& path, const std::vector<std::string>& parts) {
  const ProcessResult result = test::tessera({"info", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const auto& part : parts) EXPECT_NE(result.out.find(part), std::string::npos) << part << " in\n" << result.out;
}

fs::path archive(const std::string& name) {
  return fs::path(TESSERA_SOURCE_DIR) / "tests/data/torch_archives" / name;
}

TEST(Info, MissingFilesAreListedOneByOne) {
  const TemporaryFolder folder;
  fs::copy(fixture_folder() / "wan_pipeline/pipeline", folder / "m", fs::copy_options::recursive);
  fs::permissions(folder / "m", fs::perms::owner_all, fs::perm_options::add);
  fs::remove_all(folder / "m/text_encoder");
  fs::remove(folder / "m/vae/diffusion_pytorch_model.safetensors");
  fs::remove(folder / "m/tokenizer/spiece.model");
  std::ofstream(folder / "m/vae/diffusion_pytorch_model.safetensors.index.json")
      << json{{"weight_map", {{"a", "one.safetensors"}, {"b", "two.safetensors"}}}};
  const json info = info_json(folder / "m");
  EXPECT_EQ(info.at("supported"), false);
  const auto missing = info.at("missing").dump();
  EXPECT_EQ(info.at("missing").size(), 4u) << missing;
  for (const char* name : {"m/text_encoder", "vae/one.safetensors", "vae/two.safetensors", "tokenizer/spiece.model"})
    EXPECT_NE(missing.find(name), std::string::npos) << name << " in " << missing;
  EXPECT_EQ(info.at("attention"), (json{"softmax", "softmax"}));
}

TEST(Info, TokensOfTheDefaultSize) {
  // 17 x 32 x 32 in the fixture's terms: see generation_defaults and the strides 4 and 8, patch 1 x 2 x 2.
  const json info = info_json(fixture_folder() / "wan_pipeline/pipeline");
  const json& defaults = info.at("defaults");
  const int64_t frames = 1 + (defaults.at("frames").get<int64_t>() - 1) / 4;
  const int64_t rows = defaults.at("height").get<int64_t>() / 16, columns = defaults.at("width").get<int64_t>() / 16;
  EXPECT_EQ(info.at("tokens").get<std::string>().find(std::to_string(frames) + " x " + std::to_string(rows) + " x " +
                                                      std::to_string(columns) + " = "),
            0u)
      << info.at("tokens");
  EXPECT_EQ(info.at("layout"), "diffusers");
}

TEST(Info, ADitCheckpointIsRecognizedAndItsAutoencoderReportedMissing) {
  const TemporaryFolder folder;
  fs::copy_file(fixture_folder() / "dit_mhla/checkpoint_train.pt", folder / "model.pt");
  std::ofstream(folder / "model.json") << R"({"num_heads": 4})";
  const json info = info_json(folder / "model.pt");
  EXPECT_EQ(info.at("layout"), "dit-mhla");
  EXPECT_EQ(info.at("attention"), (json{"mhla", "mhla"}));
  ASSERT_EQ(info.at("missing").size(), 1u);
  EXPECT_NE(info.at("missing")[0].get<std::string>().find("--vae"), std::string::npos);
  std::vector<std::string> groups;
  for (const auto& group : info.at("file").at("groups")) groups.push_back(group.at("name"));
  EXPECT_EQ(groups, (std::vector<std::string>{"model", "ema", "opt"}));
  EXPECT_EQ(info.at("file").at("values").at("args.model"), "DiT-tiny");
  EXPECT_EQ(info.at("file").at("objects_not_made"), (json{"argparse.Namespace"}));
  const ProcessResult whole =
      test::tessera({"info", folder / "model.pt", "--vae", fixture_folder() / "dit_pipeline/pipeline/vae"});
  EXPECT_EQ(whole.exit_code, 0) << whole.err;
  EXPECT_NE(whole.out.find("1 x 8 x 8 = 64 at"), std::string::npos) << whole.out;
  EXPECT_EQ(whole.out.find("missing"), std::string::npos) << whole.out;
}

TEST(Info, OneComponentByItself) {
  const json info = info_json(fixture_folder() / "dit_pipeline/pipeline/vae");
  EXPECT_EQ(info.at("layout"), "component");
  EXPECT_EQ(info.at("class"), "AutoencoderKL");
  EXPECT_EQ(info.at("supported"), false);
  EXPECT_GT(info.at("parts")[0].at("parameters"), 1000);
}

TEST(Info, AFileThatIsNearlyAModelIsShownWithWhatItLacks) {
  const TemporaryFolder folder;
  fs::copy_file(fixture_folder() / "dit_original/checkpoint.pt", folder / "model.pt");
  const json info = info_json(folder / "model.pt");
  EXPECT_EQ(info.at("supported"), false);
  EXPECT_NE(info.at("obstacle").get<std::string>().find("num_heads"), std::string::npos) << info.at("obstacle");
  EXPECT_GT(info.at("file").at("groups")[0].at("numbers"), 100'000);
  expect_text(fixture_folder() / "fvd/i3d_tiny.pt", {"PyTorch archive", "conv1", "not a model by itself", "TinyI3D"});
}

TEST(Info, OutputsShowTheirRecipe) {
  const TemporaryFolder folder;
  const auto rendered = [&](const std::string& name, const std::string& frames) {
    const ProcessResult made =
        test::tessera({"generate", "a red star", "--model",
                       (test::fixture_folder() / "wan_pipeline" / "pipeline").string(), "--size", "32x32", "--steps",
                       "1", "--max-sequence-length", "16", "--seed", "7", "--frames", frames, "-o", folder / name});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  };
  rendered("x.png", "1");
  rendered("x.mp4", "5");
  rendered("x.gif", "5");
  for (const char* name : {"x.png", "x.mp4"}) {
    const ProcessResult text = test::tessera({"info", folder / name});
    EXPECT_EQ(text.exit_code, 0) << text.err;
    for (const std::string& part :
         {std::string("made by tessera "), std::string("prompt               \"a red star\"\n"),
          std::string("seed                 7\n"), std::string("steps                1\n"),
          "tessera generate --from-file " + (folder / name).string()})
      EXPECT_NE(text.out.find(part), std::string::npos) << part << "\n" << text.out;
    const ProcessResult printed = test::tessera({"info", folder / name, "--json"});
    const auto recipe = nlohmann::json::parse(printed.out);
    EXPECT_EQ(recipe.at("job").at("seed"), 7);
    EXPECT_EQ(recipe.at("model_fingerprint").get<std::string>().size(), 64u);
  }
  const ProcessResult none = test::tessera({"info", folder / "x.gif"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_NE(none.err.find("x.gif has no recipe"), std::string::npos) << none.err;
}

TEST(Info, FilesThatAreNoModel) {
  const json checkpoint = info_json(archive("checkpoint.pt"));
  EXPECT_EQ(checkpoint.at("kind"), "PyTorch archive");
  EXPECT_EQ(checkpoint.at("values").at("epoch"), 7);
  EXPECT_EQ(checkpoint.at("values").at("args.layout"), (json{3, 5, 10}));
  EXPECT_EQ(checkpoint.at("groups")[0].at("name"), "model");
  EXPECT_EQ(checkpoint.at("groups")[0].at("tensors").at("weight").at("shape"), (json{2, 3}));
  EXPECT_EQ(checkpoint.at("groups")[0].at("numbers"), 8);
  expect_text(archive("checkpoint_legacy.pt"), {"PyTorch archive", "ema", "2 tensors", "args.model: \"DiT-S/2\"",
                                                "argparse.Namespace", "__main__.Unknown"});
  expect_text(fixture_folder() / "autoencoder_kl/io.safetensors", {"safetensors", "fp32"});
  const TemporaryFolder folder;
  write_npz(folder / "a.npz", {{"mu", at::zeros({3})}, {"sigma", at::zeros({3, 3}, at::kDouble)}});
  expect_text(folder / "a.npz", {"NumPy archive", "2 tensors", "12 numbers", "<f4+<f8"});
  const ProcessResult listed = test::tessera({"info", "--tensors", archive("views.pt")});
  EXPECT_NE(listed.out.find("transposed  6 x 4  fp32"), std::string::npos) << listed.out;
  std::ofstream(folder / "x.pt") << "nonsense";
  EXPECT_EQ(test::tessera({"info", folder / "x.pt"}).exit_code, 2);
  EXPECT_EQ(test::tessera({"info", folder / "nowhere"}).exit_code, 2);
}

}  // namespace
}  // namespace tessera
