#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::contains;
using test::ProcessResult;
using test::TemporaryFolder;

const std::string kPipeline = (test::fixture_folder() / "dit_pipeline" / "pipeline").string();

ProcessResult generate(std::vector<std::string> arguments, const std::string& model = kPipeline) {
  std::vector<std::string> all = {"generate", "--model", model};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return test::tessera(all);
}

/// One error line that says `part`, exit code 2, nothing written.
void expect_refused(const std::vector<std::string>& arguments, const std::string& part,
                    const std::string& model = kPipeline) {
  SCOPED_TRACE(part);
  const ProcessResult result = generate(arguments, model);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.err, part)) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
}

/// A fixture's checkpoint in a folder of its own, with the number of heads beside it.
std::string checkpoint(const TemporaryFolder& folder, const std::string& fixture, const std::string& file) {
  const fs::path source = test::fixture_folder() / fixture;
  fs::copy_file(source / file, folder / "model.pt");
  const json heads = {{"num_heads", read_json_object(source / "config.json").at("model").at("num_heads")}};
  std::ofstream(folder / "model.json") << heads;
  return folder / "model.pt";
}

int64_t pixels(const fs::path& path) {
  return read_picture(path).size(1);
}

TEST(ClassToImage, PicturesOfTheReferenceFromItsNoise) {
  const test::Fixture fixture("dit_pipeline");
  const std::string noise = (fixture.folder / "init_noise.safetensors").string();
  for (const auto& run : fixture.config.at("runs")) {
    const std::string name = run.at("name");
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    std::string classes;
    for (const auto& label : run.at("labels")) classes += (classes.empty() ? "" : ",") + label.dump();
    const ProcessResult result =
        generate({"--class", classes, "--steps", run.at("steps").dump(), "--cfg-scale", run.at("g").dump(), "--latents",
                  noise + ":" + name, "--dtype", "fp32", "-o", folder / "x.png"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const at::Tensor want = fixture[name + ".images"];
    for (int64_t i = 0; i < want.size(0); ++i) {
      const fs::path file = folder / (want.size(0) == 1 ? "x.png" : "x_" + std::to_string(i) + ".png");
      const at::Tensor picture = read_picture(file).to(at::kFloat);
      ASSERT_EQ(picture.sizes(), want[i].sizes());
      EXPECT_LE((picture - want[i] * 255).abs().max().item<double>(), 0.5 + 255 * 5e-4);  // rounding and tolerance
    }
  }
}

TEST(ClassToImage, RunsAgainToTheSameBytesAndOutputsDependOnTheirSeedAlone) {
  const TemporaryFolder folder;
  const std::vector<std::string> settings = {"--steps", "3", "--sampler", "ddpm"};
  const auto render = [&](std::vector<std::string> arguments, const std::string& name) {
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    arguments.insert(arguments.end(), {"-o", folder / name});
    const ProcessResult result = generate(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
  };
  render({"--class", "golden retriever,3", "--count", "2", "--seed", "7"}, "x.png");
  render({"--class", "golden retriever,3", "--count", "2", "--seed", "7"}, "y.png");
  for (const std::string i : {"0", "1", "2", "3"})
    EXPECT_EQ(read_picture(folder / ("x_" + i + ".png")).sum().item<int64_t>(),
              read_picture(folder / ("y_" + i + ".png")).sum().item<int64_t>());
  fs::create_directory(folder / "again");
  render({"--class", "golden retriever,3", "--count", "2", "--seed", "7"}, "again/x.png");
  EXPECT_EQ(test::read_text(folder / "x_2.png"), test::read_text(folder / "again/x_2.png"));
  render({"--class", "tiger shark", "--seed", "9"}, "alone.png");  // output 2: class 3, seed 7 + 2
  EXPECT_EQ(test::read_text(folder / "x_2.png"), test::read_text(folder / "alone.png"));
}

TEST(ClassToImage, EverySamplerRuns) {
  const TemporaryFolder folder;
  for (const std::string sampler :
       {"euler", "unipc", "dpmpp_2m", "heun", "dpmpp_2m_sde", "sa_solver", "ddim", "ddpm", "euler_a"}) {
    const ProcessResult result =
        generate({"--class", "3", "--sampler", sampler, "--steps", "4", "--seed", "1", "-o", folder / "x.png"});
    EXPECT_EQ(result.exit_code, 0) << sampler << ": " << result.err;
  }
}

TEST(ClassToImage, RespacesTimestepsAsTheReferenceDoes) {
  const TemporaryFolder folder;
  const std::string model = checkpoint(folder, "dit_original", "checkpoint.pt");
  const auto picture = [&](std::vector<std::string> arguments) {
    const std::string out = folder / "x.png";
    fs::remove(out);
    arguments.insert(arguments.end(),
                     {"--vae", kPipeline + "/vae", "--class", "3", "--seed", "5", "--dtype", "fp32", "-o", out});
    const ProcessResult result = generate(arguments, model);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return read_picture(out);
  };
  const at::Tensor steps = picture({"--steps", "5"});
  EXPECT_TRUE(at::equal(picture({"--timestep-respacing", "5"}), steps));
  EXPECT_TRUE(at::equal(picture({"--respacing", "5", "--steps", "5"}), steps));
  EXPECT_FALSE(at::equal(picture({"--timestep-respacing", "2,3"}), steps));
  const at::Tensor strided = picture({"--sampler", "ddim", "--timestep-respacing", "ddim5"});
  EXPECT_FALSE(at::equal(picture({"--sampler", "ddim", "--timestep-respacing", "5"}), strided));
  const std::vector<std::string> fixed = {"--class", "3", "-o", folder / "y.png", "--timestep-respacing"};
  const auto refused = [&](std::vector<std::string> more, const std::string& part) {
    more.insert(more.begin(), fixed.begin(), fixed.end());
    expect_refused(more, part);
  };
  refused({"4,3,5", "--steps", "10"}, "makes 12 steps, --steps says 10");
  refused({"4,3,5", "--sampler", "euler"}, "for the samplers ddim and ddpm");
  refused({"4;3"}, "a timestep respacing is a number of steps");
  refused({"ddim600"}, "no whole stride");
  refused({"600,1"}, "part 1 of the timestep respacing has 500 timesteps");
}

TEST(ClassToImage, RefusesWhatHasNoMeaning) {
  expect_refused({}, "choose what to show with --class");
  expect_refused({"a dog", "--class", "3"}, "a prompt does not apply to this model");
  expect_refused({"--class", "3", "--negative-prompt", "blurry"}, "--negative-prompt does not apply");
  expect_refused({"--class", "3", "--frames", "5"}, "--frames above 1 does not apply");
  expect_refused({"--class", "3", "--fps", "8"}, "--fps does not apply");
  expect_refused({"--class", "3", "--max-sequence-length", "64"}, "--max-sequence-length does not apply");
  expect_refused({"--class", "3", "--flow-shift", "3"}, "--flow-shift is for flow-matching models");
  expect_refused({"--class", "3", "--sigmas", "1,0.5"}, "--sigmas is for flow-matching models");
  expect_refused({"--class", "3", "--cfg-zero"}, "--cfg-zero is for flow-matching models");
  expect_refused({"--class", "3", "--sampler", "unipc", "--eta", "0.5"}, "--eta is for the ddim sampler");
  expect_refused({"--class", "3", "--size", "64x64"}, "does not fit this model");
  expect_refused({"--class", "3", "--cfg-channels", "5"}, "0 guides all of them");
  expect_refused({"--class", "3", "--vae-tile", "8"}, "--vae-tile 8 is too small");
  expect_refused({"--class", "3", "--block-size", "16"}, "omit --block-size");
  expect_refused({"--class", "3", "--steps", "1000", "--scheduler", "karras", "--sampler", "ddim"}, "karras");
}

TEST(ClassToImage, NamesTheNearestClass) {
  expect_refused({"--class", "golden retreiver"}, "did you mean golden retriever?");
  expect_refused({"--class", "crane"}, "134 (crane), 517 (crane)");
  expect_refused({"--class", "1000"}, "0 to 999");
  expect_refused({"--class", "3,,4"}, "joined by commas");
}

TEST(ClassToImage, CheckpointsOfBothCodesWithASeparateAutoencoder) {
  for (const auto& [fixture, file] : std::vector<std::pair<std::string, std::string>>{
           {"dit_original", "checkpoint.pt"}, {"dit_mhla", "checkpoint.pt"}, {"dit_mhla", "checkpoint_train.pt"}}) {
    SCOPED_TRACE(fixture + " " + file);
    const TemporaryFolder folder;
    const std::string model = checkpoint(folder, fixture, file);
    const auto render = [&](const std::string& vae, const std::string& name) {
      const ProcessResult result =
          generate({"--class", "3", "--steps", "3", "--seed", "5", "--vae", vae, "--json", "-o", folder / name}, model);
      EXPECT_EQ(result.exit_code, 0) << result.err;
      return result.exit_code == 0 ? json::parse(result.out).at("job") : json();
    };
    const json job = render(kPipeline, "pipeline.png");
    EXPECT_EQ(job.at("sampler"), "ddpm");
    EXPECT_EQ(job.at("cfg_channels"), fixture == "dit_original" ? 3 : 0);
    const int64_t side =
        read_json_object(test::fixture_folder() / fixture / "config.json").at("model").at("input_size");
    EXPECT_EQ(pixels(folder / "pipeline.png"), 8 * side);
    render(kPipeline + "/vae", "folder.png");
    render(kPipeline + "/vae/diffusion_pytorch_model.safetensors", "file.png");
    const at::Tensor want = read_picture(folder / "pipeline.png");
    EXPECT_TRUE(at::equal(read_picture(folder / "folder.png"), want));
    EXPECT_TRUE(at::equal(read_picture(folder / "file.png"), want));
  }
}

TEST(ClassToImage, SaysWhichAutoencoderToGive) {
  const TemporaryFolder folder;
  const std::string model = checkpoint(folder, "dit_original", "checkpoint.pt");
  expect_refused({"--class", "3"}, "pass Stable Diffusion's", model);
  expect_refused({"--class", "3", "--vae", folder / "missing"}, "no such folder", model);
  const std::string wan = (test::fixture_folder() / "wan_pipeline" / "pipeline" / "vae").string();
  expect_refused({"--class", "3", "--vae", wan}, "wants an AutoencoderKL", model);
  fs::copy(kPipeline + "/vae", folder / "vae");
  json config = read_json_object(folder / "vae/config.json");
  config["latent_channels"] = 16;
  fs::permissions(folder / "vae/config.json", fs::perms::owner_write, fs::perm_options::add);
  std::ofstream(folder / "vae/config.json") << config;
  expect_refused({"--class", "3", "--vae", folder / "vae"}, "encoder.conv_out.weight is [8, 16, 3, 3], want [32,",
                 model);
  const fs::path weights = folder / "vae/diffusion_pytorch_model.safetensors";
  std::map<std::string, at::Tensor> tensors = read_safetensors(weights).tensors();
  const std::map<std::string, std::vector<int64_t>> repeats{
      {"encoder.conv_out.weight", {4, 1, 1, 1}}, {"encoder.conv_out.bias", {4}},
      {"quant_conv.weight", {4, 4, 1, 1}},       {"quant_conv.bias", {4}},
      {"post_quant_conv.weight", {4, 4, 1, 1}},  {"post_quant_conv.bias", {4}},
      {"decoder.conv_in.weight", {1, 4, 1, 1}}};
  for (auto& [name, tensor] : tensors) {
    const auto found = repeats.find(name);
    tensor = found == repeats.end() ? tensor.clone() : tensor.repeat(found->second);
  }
  fs::remove(weights);
  write_safetensors(weights, tensors);
  expect_refused({"--class", "3", "--vae", folder / "vae"}, "latents have 16 channels", model);
}

TEST(ClassToImage, SaysWhatACheckpointDoesNotSay) {
  const TemporaryFolder folder;
  const std::string model = checkpoint(folder, "dit_mhla", "checkpoint_train.pt");
  expect_refused({"--class", "3", "--vae", kPipeline, "--block-size", "4"}, "blocks of 16 tokens", model);
  fs::remove(folder / "model.json");
  expect_refused({"--class", "3", "--vae", kPipeline}, "{\"num_heads\": N}", model);
  std::ofstream(folder / "model.json") << "{\"heads\": 4}";
  expect_refused({"--class", "3", "--vae", kPipeline}, "num_heads", model);
}

TEST(ClassToImage, TilesGiveNearlyTheWholePicture) {
  const TemporaryFolder folder;
  const std::string model = checkpoint(folder, "dit_mhla", "checkpoint.pt");
  for (const std::string tile : {"0", "64"}) {
    const ProcessResult result = generate({"--class", "3", "--steps", "5", "--seed", "5", "--vae", kPipeline,
                                           "--vae-tile", tile, "-o", folder / (tile + ".png")},
                                          model);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  const at::Tensor whole = read_picture(folder / "0.png").to(at::kFloat);
  const at::Tensor tiled = read_picture(folder / "64.png").to(at::kFloat);
  EXPECT_LT((whole - tiled).abs().mean().item<double>(), 3.0);
  EXPECT_GT((whole - tiled).abs().max().item<double>(), 0.0);
}

TEST(ClassToImage, ReMakesAnOutputFromItsRecipeAndDecodesLatents) {
  const TemporaryFolder folder;
  const ProcessResult made = generate({"--class", "golden retriever", "--steps", "3", "--seed", "2", "--sampler",
                                       "ddim", "--eta", "0.5", "--json", "-o", folder / "x.png"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const json job = json::parse(made.out).at("job");
  EXPECT_EQ(job.at("class"), "207");
  EXPECT_EQ(job.at("eta"), 0.5);
  const ProcessResult again = test::tessera({"generate", "--from-file", folder / "x.png", "-o", folder / "y.png"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(at::equal(read_picture(folder / "x.png"), read_picture(folder / "y.png")));

  const test::Fixture fixture("dit_pipeline");
  const at::Tensor latents = fixture["ddim10_g4.trajectory"][9].narrow(0, 0, 1).contiguous();
  write_safetensors(folder / "kept.safetensors", {{"latents", latents}}, {{"tessera", json{{"job", job}}.dump()}});
  const ProcessResult decoded = test::tessera({"decode", folder / "kept.safetensors", "-o", folder / "z.png"});
  ASSERT_EQ(decoded.exit_code, 0) << decoded.err;
  const at::Tensor picture = read_picture(folder / "z.png").to(at::kFloat);
  EXPECT_LE((picture - fixture["ddim10_g4.images"][0] * 255).abs().max().item<double>(), 0.5 + 255 * 5e-4);
}

TEST(ClassToImage, BatchesTakeClasses) {
  const TemporaryFolder folder;
  std::ofstream(folder / "classes.json") << R"({"version": 1, "defaults": {"steps": 3, "seed": 4},
    "prompts": [{"id": "dog", "class": "golden retriever"}, {"id": "fish", "class": 3, "count": 2},
                {"id": "both", "class": 3, "grid": {"class": ["tench", "goldfish"]}}]})";
  const ProcessResult result = test::tessera(
      {"batch", folder / "classes.json", "-o", folder / "out", "--model", kPipeline, "--dtype", "fp32", "--quiet"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::vector<std::string> pictures;
  for (const std::string& name : test::listing(folder / "out"))
    if (name.ends_with(".png")) pictures.push_back(name);
  EXPECT_EQ(pictures.size(), 5u) << result.out;
  ASSERT_EQ(
      generate({"--class", "207", "--steps", "3", "--seed", "4", "--dtype", "fp32", "-o", folder / "x.png"}).exit_code,
      0);
  EXPECT_TRUE(at::equal(read_picture(folder / "x.png"), read_picture(folder / "out/dog.png")));
}

TEST(ClassToImage, GuidesTheChannelsAskedFor) {
  const TemporaryFolder folder;
  const std::string model = checkpoint(folder, "dit_original", "checkpoint.pt");
  const auto picture = [&](const std::vector<std::string>& more, const std::string& name) {
    std::vector<std::string> arguments = {"--class", "3",     "--steps", "5",  "--seed",
                                          "5",       "--vae", kPipeline, "-o", folder / name};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = generate(arguments, model);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return test::read_text(folder / name);
  };
  const std::string three = picture({}, "default.png");
  EXPECT_EQ(picture({"--cfg-channels", "3"}, "three.png"), three);
  picture({"--cfg-channels", "0"}, "all.png");
  EXPECT_FALSE(at::equal(read_picture(folder / "all.png"), read_picture(folder / "three.png")));
}

TEST(ClassToImage, TakesTheModelsOwnClassNames) {
  const TemporaryFolder folder;
  fs::copy(kPipeline, folder / "model", fs::copy_options::recursive);
  fs::permissions(folder / "model/model_index.json", fs::perms::owner_write, fs::perm_options::add);
  json index = read_json_object(folder / "model/model_index.json");
  index["id2label"] = {{"0", "red square, square"}, {"7", "blue disc"}};
  std::ofstream(folder / "model/model_index.json") << index;
  const std::string model = folder / "model";
  const ProcessResult result =
      generate({"--class", "Blue disc,square", "--steps", "2", "--json", "-o", folder / "x.png"}, model);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(contains(result.err, "class 7 (blue disc), 0 (red square)")) << result.err;
  expect_refused({"--class", "golden retriever"}, "no class is called", model);
  index["id2label"] = {{"1000", "beyond"}};
  std::ofstream(folder / "model/model_index.json") << index;
  expect_refused({"--class", "3"}, "must be the number of a class, 0 to 999", model);
}

}  // namespace
}  // namespace tessera
