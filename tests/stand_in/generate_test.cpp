// The whole program on the stand-in device: pictures and videos of each family in each dtype, what a step asks of the
// host, and what the device's memory holds.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "media/picture.h"
#include "media/video_reader.h"
#include "tests/stand_in/support.h"
#include "weights/safetensors.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;

const std::string kWan = (fixture_folder() / "wan_pipeline" / "pipeline").string();
const std::string kDit = (fixture_folder() / "dit_pipeline" / "pipeline").string();
const std::string kBundled = std::string(TESSERA_SOURCE_DIR) + "/weights/bundled";

using Arguments = std::vector<std::string>;

Arguments joined(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Arguments wan(const fs::path& output, const Arguments& more = {}) {
  return joined({"generate", "a cat", "--model", kWan, "--size", "32x32", "--max-sequence-length", "16", "--steps", "2",
                 "--seed", "3", "-q", "-o", output},
                more);
}

Arguments dit(const fs::path& output, const Arguments& more = {}) {
  return joined({"generate", "--class", "3", "--model", kDit, "--steps", "2", "--seed", "3", "-q", "-o", output}, more);
}

Arguments bundled(const fs::path& output, const Arguments& more = {}) {
  return joined({"generate", "a red star", "--model", kBundled, "--frames", "1", "--seed", "3", "-q", "-o", output},
                more);
}

/// The largest difference of two pictures' bytes.
int64_t difference(const fs::path& a, const fs::path& b) {
  return (read_picture(a).to(at::kInt) - read_picture(b).to(at::kInt)).abs().max().item<int64_t>();
}

class StandInGenerate : public testing::Test {
 protected:
  TemporaryFolder folder;
};

TEST_F(StandInGenerate, PicturesAreThoseOfTheCpu) {
  const Arguments exact = {"--dtype", "fp32"};
  const fs::path here = folder / "cpu.png", there = folder / "gpu.png";
  for (const auto& command : {&wan, &dit, &bundled}) {
    const std::string name = command(there, {}).at(1);
    const ProcessResult cpu = tessera(command(here, joined(exact, {"--device", "cpu", "--steps", "2"})));
    ASSERT_EQ(cpu.exit_code, 0) << cpu.err;
    const StandInRun gpu = done_on_stand_in(command(there, joined(exact, {"--device", "cuda", "--steps", "2"})));
    EXPECT_LE(difference(here, there), 1) << name;
    EXPECT_GT(gpu.of("fp32_products"), 0) << name;
    EXPECT_EQ(gpu.of("tf32_products"), 0) << name << ": fp32 is exact";
    EXPECT_EQ(gpu.of("bf16_products") + gpu.of("fp16_products"), 0) << name;
  }
}

TEST_F(StandInGenerate, EveryDtypeRunsInItsDtype) {
  for (const auto& command : {&wan, &dit}) {
    const StandInRun bf16 = done_on_stand_in(command(folder / "b.png", {"--dtype", "bf16", "--device", "gpu"}));
    EXPECT_GT(bf16.of("bf16_products"), 0);
    EXPECT_EQ(bf16.of("tf32_products"), bf16.of("fp32_products")) << "beside bfloat16 TF32 loses nothing";
    const StandInRun fp16 = done_on_stand_in(command(folder / "h.png", {"--dtype", "fp16", "--device", "cuda:0"}));
    EXPECT_GT(fp16.of("fp16_products"), 0);
  }
  // UMT5 alone computes in bfloat16, or in float32 where the device has none.
  const StandInRun ampere = done_on_stand_in(wan(folder / "a.png", {"--dtype", "fp16", "--device", "cuda"}));
  EXPECT_GT(ampere.of("bf16_products"), 0);
  const StandInRun turing =
      done_on_stand_in(wan(folder / "t.png", {"--dtype", "fp16", "--device", "cuda"}), {"STAND_IN_CAPABILITY=75"});
  EXPECT_EQ(turing.of("bf16_products"), 0);
  EXPECT_EQ(turing.of("tf32_products"), 0) << "a network is in float32";
}

TEST_F(StandInGenerate, VideosArriveAsBytes) {
  const fs::path video = folder / "x.mp4";
  const StandInRun run = done_on_stand_in(wan(video, {"--frames", "9", "--device", "cuda"}));
  EXPECT_EQ(read_video(video).frames.size(0), 9);
  const int64_t bytes = 9 * 3 * 32 * 32;
  EXPECT_GE(run.of("download_bytes"), bytes);
  EXPECT_LT(run.of("download_bytes"), bytes + 2048) << "the rest are counts";
  EXPECT_GE(run.of("channels_last"), run.of("convolutions") - 2) << "those of one pixel are laid out both ways";
  EXPECT_EQ(run.of("tuned_convolutions"), run.of("convolutions"));
}

TEST_F(StandInGenerate, GuidanceInEveryForm) {
  const std::vector<Arguments> forms = {{"--apg-eta", "0", "--apg-momentum", "-0.5"},
                                        {"--cfg-zero", "--guidance-interval", "0:0.8"},
                                        {"--guidance-rescale", "0.7", "--sampler", "dpmpp_2m_sde"},
                                        {"--cfg-scale", "1"}};
  for (const Arguments& form : forms)
    done_on_stand_in(wan(folder / "g.png", joined({"--device", "cuda", "--steps", "3"}, form)));
}

TEST_F(StandInGenerate, TilesOfTheAutoencoder) {
  const Arguments tiled = {"--size", "256x192", "--steps", "1", "--vae-tile", "192", "--dtype", "fp32"};
  done_on_stand_in(wan(folder / "gpu.png", joined(tiled, {"--device", "cuda"})));
  ASSERT_EQ(tessera(wan(folder / "cpu.png", joined(tiled, {"--device", "cpu"}))).exit_code, 0);
  EXPECT_LE(difference(folder / "cpu.png", folder / "gpu.png"), 1);
}

/// What one more step costs: the difference of runs of three and of six steps, for each step.
std::map<std::string, int64_t> cost_of_a_step(const Arguments& command) {
  const StandInRun few = done_on_stand_in(joined(command, {"--steps", "3"}));
  const StandInRun more = done_on_stand_in(joined(command, {"--steps", "6"}));
  std::map<std::string, int64_t> cost;
  for (const char* name : {"launches", "uploads", "drains", "waits", "downloads"}) {
    const int64_t all = more.of(name) - few.of(name);
    EXPECT_EQ(all % 3, 0) << name;
    cost[name] = all / 3;
  }
  return cost;
}

TEST_F(StandInGenerate, AStepUploadsNothingAndWaitsOnce) {
  // The bundled model's largest grid is that of 192x192; at 256x256 it has more blocks, whose mixing is computed.
  for (const char* size : {"128x128", "256x256"}) {
    auto cost = cost_of_a_step(bundled(folder / "s.png", {"--size", size, "--device", "cuda"}));
    EXPECT_EQ(cost["uploads"], 0) << size;
    EXPECT_EQ(cost["drains"], 0) << size << ": the host never waits for what it has just queued";
    EXPECT_EQ(cost["waits"], 1) << size;
    EXPECT_EQ(cost["downloads"], 1) << size;
    EXPECT_GT(cost["launches"], 0);
  }
  for (const auto& command : {&wan, &dit}) {
    auto cost = cost_of_a_step(command(folder / "s.png", {"--device", "cuda"}));
    EXPECT_EQ(cost["uploads"], 0);
    EXPECT_EQ(cost["drains"], 0);
    EXPECT_EQ(cost["waits"], 1);
  }
}

TEST_F(StandInGenerate, AStepCacheWaitsOnceAStep) {
  auto cost = cost_of_a_step(wan(folder / "s.png", {"--step-cache", "0.0001", "--device", "cuda"}));
  EXPECT_EQ(cost["uploads"], 0);
  EXPECT_EQ(cost["drains"] + cost["waits"], 1) << "the change of the input decides what the host does next";
}

TEST_F(StandInGenerate, NumbersThatAreNotFiniteAreFoundAStepLate) {
  const fs::path model = folder / "model";
  fs::copy(kWan, model, fs::copy_options::recursive);
  const fs::path file = model / "transformer" / "diffusion_pytorch_model.safetensors";
  std::map<std::string, at::Tensor> tensors = read_safetensors(file).tensors();
  at::Tensor& weight = tensors.at("proj_out.weight");
  weight = weight / weight.abs().max() * 1e38;
  write_safetensors(file, tensors);
  const StandInRun run =
      on_stand_in(wan(folder / "n.png", {"--device", "cuda", "--dtype", "fp32", "--steps", "4", "--model", model}));
  EXPECT_EQ(run.result.exit_code, 4) << run.result.err;
  EXPECT_NE(run.result.err.find("is not finite after step 1 of 4"), std::string::npos) << run.result.err;
}

TEST_F(StandInGenerate, StagesHoldTheirOwnPartsOnly) {
  const auto file = [](const char* part) {
    const fs::path folder = fs::path(kBundled) / part;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".safetensors") return static_cast<int64_t>(entry.file_size());
    return int64_t{0};
  };
  const auto stages = [&](const Arguments& more) {
    const StandInRun run = done_on_stand_in(
        bundled(folder / "p.png", joined({"--size", "128x128", "--steps", "1", "--json", "--device", "cuda"}, more)));
    return nlohmann::json::parse(run.result.out).at("gpu_bytes");
  };
  const int64_t text = file("text_encoder"), transformer = file("transformer"), vae = file("vae");
  const nlohmann::json stay = stages({}), turns = stages({"--offload", "parts"});
  EXPECT_GE(stay.at("text"), text);
  EXPECT_LT(stay.at("text"), text + 4'000'000) << "the token table is converted on the device";
  EXPECT_GE(stay.at("denoise"), transformer);
  EXPECT_LT(stay.at("denoise"), transformer + 6'000'000) << "the text encoder is gone";
  EXPECT_GE(stay.at("decode"), vae);
  for (const char* stage : {"text", "denoise", "decode"}) EXPECT_LE(turns.at(stage), stay.at(stage)) << stage;
}

TEST_F(StandInGenerate, StreamedLayersGiveTheSamePicture) {
  const auto rendered = [&](const std::string& name, const std::string& offload) {
    return done_on_stand_in(joined(bundled(folder / name), {"--steps", "2", "--size", "64x64", "--json", "--device",
                                                            "cuda", "--offload", offload}));
  };
  const StandInRun whole = rendered("whole.png", "none"), streamed = rendered("streamed.png", "layers");
  EXPECT_EQ(difference(folder / "whole.png", folder / "streamed.png"), 0);
  const auto peak = [](const StandInRun& made) {
    return nlohmann::json::parse(made.result.out).at("gpu_bytes").at("denoise").get<int64_t>();
  };
  EXPECT_LT(peak(streamed), peak(whole) - 3'000'000) << "two of six layers are on the device";
}

}  // namespace
}  // namespace tessera::test
