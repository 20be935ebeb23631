#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/out_of_memory.h"
#include "media/frame_writer.h"
#include "media/picture.h"
#include "media/png_text.h"
#include "media/video_reader.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using test::ProcessResult;
using test::TemporaryFolder;

const std::string kModel = (test::fixture_folder() / "wan_pipeline" / "pipeline").string();

/// `tessera generate` on the fixture's model, small and quick unless told otherwise.
ProcessResult generate(std::vector<std::string> arguments, bool small = true) {
  std::vector<std::string> all = {"generate", "--model", kModel, "--max-sequence-length", "64", "--dtype", "fp32"};
  if (small) all.insert(all.end(), {"--size", "32x48", "--steps", "2"});
  all.insert(all.end(), arguments.begin(), arguments.end());
  return test::tessera(all);
}

/// Runs one of the fixture's pipeline calls from its recorded noise; the frames as the fixture has them, [T, H, W, 3].
at::Tensor rendered_frames(const nlohmann::json& run, const std::filesystem::path& folder, bool sizes_from_latents) {
  const std::string name = run.at("name");
  const auto noise = test::fixture_folder() / "wan_pipeline" / "init_noise.safetensors";
  std::vector<std::string> arguments = {"generate",
                                        run.at("prompt"),
                                        "--negative-prompt",
                                        run.at("negative"),
                                        "--model",
                                        kModel,
                                        "--latents",
                                        noise.string() + ":" + name,
                                        "--sampler",
                                        run.at("sch") == "unipc" ? "unipc" : "flow_euler",
                                        "--steps",
                                        run.at("steps").dump(),
                                        "--cfg-scale",
                                        run.at("g").dump(),
                                        "--max-sequence-length",
                                        run.at("max_len").dump(),
                                        "-o",
                                        (folder / "%04d.png").string()};
  if (!sizes_from_latents)
    arguments.insert(arguments.end(),
                     {"-W", run.at("w").dump(), "-H", run.at("h").dump(), "--frames", run.at("frames").dump()});
  const ProcessResult result = test::tessera(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::vector<at::Tensor> frames;
  for (int64_t i = 0; i < run.at("frames").get<int64_t>(); ++i)
    frames.push_back(read_picture(frame_path(folder / "%04d.png", i)));
  return at::stack(frames);
}

TEST(Generate, RendersTheReferencePipelinesFrames) {
  const test::Fixture fixture("wan_pipeline");
  for (const auto& run : fixture.config.at("runs")) {
    const std::string name = run.at("name");
    const at::Tensor want = fixture[name + ".frames"].mul(255).round();
    for (const bool sizes_from_latents : {false, true}) {
      const TemporaryFolder folder;
      const at::Tensor got = rendered_frames(run, folder.path(), sizes_from_latents).to(at::kFloat);
      ASSERT_EQ(got.sizes(), want.sizes()) << name;
      // A value within 1e-4 of a rounding boundary may fall on either side of it.
      EXPECT_LE((got - want).abs().max().item<double>(), 1.0) << name;
      EXPECT_LE((got != want).sum().item<int64_t>(), want.numel() / 1000) << name;
    }
  }
}

TEST(Generate, PathsOnStdoutAndAllElseOnStderr) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.png";
  const ProcessResult result = generate({"a red star", "--seed", "3", "-o", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, path + "\n");
  EXPECT_NE(result.err.find("seed 3"), std::string::npos) << result.err;
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{"x.png"});
  EXPECT_EQ(read_picture(path).sizes(), at::IntArrayRef({48, 32, 3}));
}

TEST(Generate, TheSameSeedGivesTheSameBytesAndAnotherDoesNot) {
  const TemporaryFolder folder;
  for (const auto& [name, seed] : {std::pair{"a.png", "3"}, {"b.png", "3"}, {"c.png", "4"}})
    EXPECT_EQ(generate({"a red star", "-q", "--seed", seed, "-o", folder / name}).exit_code, 0);
  EXPECT_EQ(test::read_text(folder / "a.png"), test::read_text(folder / "b.png"));
  EXPECT_NE(test::read_text(folder / "a.png"), test::read_text(folder / "c.png"));
}

TEST(Generate, CountUsesSeedPlusIndexAndNumbersTheNames) {
  const TemporaryFolder folder;
  const ProcessResult two = generate({"a red star", "--seed", "3", "--count", "2", "-o", folder / "x.png"});
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_EQ(two.out, (folder / "x_0.png").string() + "\n" + (folder / "x_1.png").string() + "\n");
  const ProcessResult alone = generate({"a red star", "--seed", "4", "-o", folder / "alone.png"});
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  EXPECT_EQ(test::read_text(folder / "x_1.png"), test::read_text(folder / "alone.png"));
}

TEST(Generate, JsonIsOneObjectPerOutput) {
  const TemporaryFolder folder;
  const ProcessResult result =
      generate({"a red star", "--seed", "3", "--count", "2", "--frames", "5", "--json", "-o", folder / "f_%03d.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::istringstream lines(result.out);
  int64_t i = 0;
  for (std::string line; std::getline(lines, line); ++i) {
    const auto object = nlohmann::json::parse(line);
    EXPECT_EQ(object.at("job").at("seed"), 3 + i);
    EXPECT_EQ(object.at("job").at("frames"), 5);
    EXPECT_EQ(object.at("job").at("width"), 32);
    EXPECT_EQ(object.at("job").at("prompt"), "a red star");
    EXPECT_EQ(object.at("files").size(), 5u);
    EXPECT_GE(object.at("seconds").at("denoise"), 0.0);
    for (const auto& file : object.at("files")) EXPECT_TRUE(std::filesystem::exists(file.get<std::string>())) << file;
  }
  EXPECT_EQ(i, 2);
}

TEST(Generate, ARandomSeedIsPrintedAndRepeatable) {
  const TemporaryFolder folder;
  const ProcessResult first = generate({"a red star", "--json", "-o", folder / "a.png"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const std::string seed = nlohmann::json::parse(first.out).at("job").at("seed").dump();
  EXPECT_NE(first.err.find("seed " + seed), std::string::npos) << first.err;
  ASSERT_EQ(generate({"a red star", "--seed", seed, "-o", folder / "b.png"}).exit_code, 0);
  EXPECT_EQ(test::read_text(folder / "a.png"), test::read_text(folder / "b.png"));
}

TEST(Generate, VideosHaveTheirFramesRateAndRecipe) {
  const TemporaryFolder folder;
  const ProcessResult result =
      generate({"a red star", "--seed", "3", "--frames", "9", "--fps", "12", "-o", folder / "x.mp4"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{"x.mp4"});
  const Video video = read_video(folder / "x.mp4");
  EXPECT_EQ(video.frames.sizes(), at::IntArrayRef({9, 48, 32, 3}));
  EXPECT_EQ(video.fps, (FrameRate{12, 1}));
  const auto recipe = nlohmann::json::parse(video.tags.at("comment"));
  EXPECT_EQ(recipe.at("program"), "tessera");
  EXPECT_EQ(recipe.at("job").at("seed"), 3);
  EXPECT_EQ(recipe.at("job").at("steps"), 2);
}

TEST(Generate, FrameRatesThatAreNotWholeStayExact) {
  const TemporaryFolder folder;
  const ProcessResult result =
      generate({"a red star", "--seed", "3", "--frames", "5", "--fps", "23.976", "--json", "-o", folder / "x.mp4"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(read_video(folder / "x.mp4").fps, (FrameRate{24000, 1001}));
  EXPECT_EQ(nlohmann::json::parse(result.out).at("job").at("fps"), "24000/1001");
  // The recipe makes the same bytes again.
  ASSERT_EQ(test::tessera({"generate", "--from-file", folder / "x.mp4", "-o", folder / "y.mp4"}).exit_code, 0);
  EXPECT_EQ(test::read_text(folder / "x.mp4"), test::read_text(folder / "y.mp4"));
  EXPECT_EQ(generate({"a", "--frames", "5", "--fps", "120", "-o", folder / "x.gif"}).exit_code, 2);
}

TEST(Generate, SeedsOfSixtyFourBits) {
  const TemporaryFolder folder;
  const ProcessResult first =
      generate({"a star", "--seed", "18446744073709551614", "--count", "2", "--json", "-o", folder / "x.png"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_NE(first.out.find("\"seed\":18446744073709551614,"), std::string::npos) << first.out;
  EXPECT_NE(first.out.find("\"seed\":18446744073709551615,"), std::string::npos) << first.out;
  ASSERT_EQ(test::tessera({"generate", "--from-file", folder / "x_1.png", "-o", folder / "y.png"}).exit_code, 0);
  EXPECT_EQ(test::read_text(folder / "x_1.png"), test::read_text(folder / "y.png"));
  EXPECT_NE(test::read_text(folder / "x_0.png"), test::read_text(folder / "y.png"));
  const ProcessResult beyond = generate({"a star", "--seed", "18446744073709551615", "--count", "2"});
  EXPECT_EQ(beyond.exit_code, 2);
  EXPECT_NE(beyond.err.find("go beyond the largest seed"), std::string::npos) << beyond.err;
}

TEST(Generate, NamesWithAPercentSignAndOtherBytes) {
  const TemporaryFolder folder;
  const ProcessResult percent = generate({"a star", "--seed", "1", "-o", folder / "100%.png"});
  EXPECT_EQ(percent.out, (folder / "100%.png").string() + "\n") << percent.err;
  EXPECT_EQ(generate({"a star", "--seed", "1", "-o", folder / "50%%_%04d.png", "--frames", "1"}).exit_code, 0);
  EXPECT_EQ(generate({"a star", "--seed", "1", "-o", folder / "\xFF.png"}).exit_code, 0);
  EXPECT_EQ(test::listing(folder.path()), (std::vector<std::string>{"100%.png", "50%_0000.png", "\xFF.png"}));
}

TEST(Generate, NamesThatJsonCannotHoldAreRefusedBeforeSampling) {
  const TemporaryFolder folder;
  const ProcessResult named = generate({"a star", "--json", "-o", folder / "\xFE.png"});
  EXPECT_EQ(named.exit_code, 2);
  EXPECT_NE(named.err.find("\\xfe.png is not UTF-8, so --json could not name it"), std::string::npos) << named.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "\xFE.png"));
}

TEST(Generate, PicturesCarryTheirRecipe) {
  const TemporaryFolder folder;
  ASSERT_EQ(
      generate({"a \"red\" star \xF0\x9F\x8C\x9F", "-n", "rain", "--seed", "3", "-o", folder / "x.png"}).exit_code, 0);
  const ImageText text = read_png_text(test::read_text(folder / "x.png"), "the PNG");
  const std::string parameters = text.at("parameters");
  EXPECT_EQ(parameters.rfind("a \"red\" star \xF0\x9F\x8C\x9F\nNegative prompt: rain\nSteps: 2, Sampler: unipc, "
                             "CFG scale: 5.0, Seed: 3, Size: 32x48, Model: pipeline, Frames: 1, ",
                             0),
            0u)
      << parameters;
  EXPECT_EQ(nlohmann::json::parse(text.at("tessera")).at("job").at("negative_prompt"), "rain");
}

TEST(Generate, FramesAreRoundedDownAndSaidSo) {
  const TemporaryFolder folder;
  const ProcessResult result = generate({"a red star", "--frames", "8", "-o", folder / "f_%03d.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("frames must be 4k+1 for this model: rendering 5 instead of 8"), std::string::npos);
  EXPECT_EQ(test::listing(folder.path()).size(), 5u);
}

TEST(Generate, OneFrameWithoutANameMakesAPicture) {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const ProcessResult result = generate({"a red star", "--frames", "1", "--seed", "3"});
  std::filesystem::current_path(before);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "tessera_3.png\n");
}

TEST(Generate, AnEarlierFileIsReplacedWholeAndThisIsSaid) {
  const TemporaryFolder folder;
  std::ofstream(folder / "x.png") << "old";
  const ProcessResult result = generate({"a red star", "-o", folder / "x.png"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find((folder / "x.png").string() + " exists and will be replaced\n"), std::string::npos);
  EXPECT_TRUE(read_picture(folder / "x.png").defined());
  EXPECT_EQ(test::listing(folder.path()).size(), 1u);
  for (const char* name : {"x_0.png", "x_2.png"}) std::ofstream(folder / name) << "old";
  const ProcessResult several = generate({"a red star", "--count", "3", "-o", folder / "x.png"});
  EXPECT_NE(several.err.find("2 files exist and will be replaced: " + (folder / "x_0.png").string() + ", " +
                             (folder / "x_2.png").string() + "\n"),
            std::string::npos)
      << several.err;
}

TEST(Generate, MissingFoldersAreMadeAndDoNotOutliveAFailure) {
  const TemporaryFolder folder;
  ASSERT_EQ(generate({"a red star", "-o", folder / "new/sub/x.png"}).exit_code, 0);
  EXPECT_EQ(test::listing(folder / "new/sub"), std::vector<std::string>{"x.png"});
  ASSERT_EQ(generate({"a red star", "--frames", "5", "-o", folder / "moon/f_%02d.png"}).exit_code, 0);
  EXPECT_EQ(test::listing(folder / "moon").size(), 5u);
  const ProcessResult failed =
      test::tessera({"generate", "a red star", "--model", kModel, "--size", "128x128", "--steps", "1",
                     "--max-sequence-length", "64", "-o", folder / "a/b/x.png"},
                    {}, /*limit_file_bytes=*/8192);
  EXPECT_EQ(failed.exit_code, 1) << failed.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
}

TEST(Generate, QuietPrintsNothingButErrors) {
  const TemporaryFolder folder;
  const ProcessResult result = generate({"a red star", "-q", "--frames", "8", "-o", folder / "f_%02d.png"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 5);
  const ProcessResult refused = generate({"a red star", "-q", "--size", "33x48", "-o", folder / "x.png"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("does not fit this model"), std::string::npos);
}

TEST(Generate, OutOfMemorySaysHowMuchAndWhatToTry) {
  const TemporaryFolder folder;
  test::Process process({"/bin/sh", "-c", "ulimit -v 1500000; exec \"$0\" \"$@\"", TESSERA_BINARY, "generate",
                         "a red star", "--model", kModel, "--size", "8192x8192", "--frames", "1", "--steps", "1",
                         "--max-sequence-length", "64", "-o", folder / "x.png"},
                        {"OMP_NUM_THREADS=1", "MALLOC_ARENA_MAX=1"});
  const ProcessResult result = process.wait();
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.err.find("tessera: out of memory: "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find(kSmallerRender), std::string::npos) << result.err;
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{});
}

TEST(Generate, LongPromptsAreCutAndSaidSo) {
  const TemporaryFolder folder;
  std::string prompt;
  for (int i = 0; i < 300; ++i) prompt += "word ";
  const ProcessResult result = generate({prompt, "-o", folder / "x.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("a prompt is longer than 64 tokens"), std::string::npos) << result.err;
}

TEST(Generate, RunsInBfloat16) {
  const TemporaryFolder folder;
  const ProcessResult result = generate({"a red star", "--dtype", "bf16", "-o", folder / "x.png"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST(Info, ShowsPartsAndCounts) {
  const ProcessResult text = test::tessera({"info", kModel});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  for (const char* part :
       {"WanPipeline", "UMT5EncoderModel", "AutoencoderKLWan", "layers 0-1 softmax", "sampler unipc"})
    EXPECT_NE(text.out.find(part), std::string::npos) << part << "\n" << text.out;
  const ProcessResult json = test::tessera({"info", "--json", kModel});
  const auto object = nlohmann::json::parse(json.out);
  EXPECT_EQ(object.at("supported"), true);
  EXPECT_EQ(object.at("attention"), nlohmann::json({"softmax", "softmax"}));
  int64_t counted = 0;
  for (const auto& part : object.at("parts"))
    if (part.at("name") == "transformer") counted = part.at("parameters");
  int64_t stored = 0;
  const auto folder = std::filesystem::path(kModel) / "transformer" / "diffusion_pytorch_model.safetensors";
  const TensorFile transformer = read_safetensors(folder);
  for (const auto& [name, tensor] : transformer.tensors()) stored += tensor.numel();
  EXPECT_EQ(counted, stored);
}

TEST(Info, ShowsWhichLayersAreLinear) {
  const TemporaryFolder folder;
  std::filesystem::copy(kModel, folder / "m", std::filesystem::copy_options::recursive);
  const auto config_path = folder / "m" / "transformer" / "config.json";
  auto config = nlohmann::json::parse(test::read_text(config_path));
  config["num_layers"] = 4;
  config["attention"] = {{"kind", "mhla"}, {"block_layout", {5, 2, 2}}, {"lepe", true}, {"softmax_layers", {2}}};
  std::ofstream(config_path) << config;
  const ProcessResult text = test::tessera({"info", folder / "m"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  for (const char* part : {"layers 0-1 mhla, 2 softmax, 3 mhla", "block layout 5x2x2 (20 blocks)", "LePE"})
    EXPECT_NE(text.out.find(part), std::string::npos) << part << "\n" << text.out;
}

TEST(Info, ForeignModelsAreShownWithWhatStandsInTheWay) {
  const TemporaryFolder folder;
  std::filesystem::copy(kModel, folder / "m", std::filesystem::copy_options::recursive);
  auto index = nlohmann::json::parse(test::read_text(folder / "m" / "model_index.json"));
  index["_class_name"] = "FluxPipeline";
  std::ofstream(folder / "m" / "model_index.json") << index;
  const ProcessResult json = test::tessera({"info", "--json", folder / "m"});
  EXPECT_EQ(json.exit_code, 0) << json.err;
  const auto object = nlohmann::json::parse(json.out);
  EXPECT_EQ(object.at("supported"), false);
  EXPECT_NE(object.at("obstacle").get<std::string>().find("FluxPipeline"), std::string::npos);
  EXPECT_EQ(object.at("parts").size(), 5u);
}

}  // namespace
}  // namespace tessera
