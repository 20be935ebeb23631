// Several outputs, several devices, and too little memory.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "media/picture.h"
#include "tests/stand_in/support.h"
#include "weights/safetensors.h"

namespace tessera::test {
namespace {

const std::string kBatchModel = (fixture_folder() / "wan_pipeline" / "pipeline").string();

class StandInBatch : public testing::Test {
 protected:
  StandInRun batch(const std::string& out, const std::vector<std::string>& more,
                   const std::vector<std::string>& environment = {}) const {
    std::vector<std::string> all = {"batch",
                                    (folder / "prompts.txt").string(),
                                    "-o",
                                    (folder / out).string(),
                                    "--model",
                                    kBatchModel,
                                    "--size",
                                    "32x32",
                                    "--steps",
                                    "2",
                                    "--max-sequence-length",
                                    "16",
                                    "--dtype",
                                    "fp32",
                                    "--seed",
                                    "5",
                                    "--no-gallery"};
    all.insert(all.end(), more.begin(), more.end());
    return on_stand_in(all, environment);
  }
  void SetUp() override { std::ofstream(folder / "prompts.txt") << "a cat\na dog\na bird\na fish\n"; }

  TemporaryFolder folder;
};

int64_t peak_of(const nlohmann::json& report, size_t device) {
  return report.at("peak").at(device).get<int64_t>();
}

TEST_F(StandInBatch, ADeviceForEachWorker) {
  for (const char* workers : {"2", "auto"}) {
    const StandInRun run = batch(workers, {"--workers", workers, "--device", "cuda"}, {"STAND_IN_DEVICES=2"});
    ASSERT_EQ(run.result.exit_code, 0) << run.result.err;
    ASSERT_EQ(run.processes.size(), 3u) << "two workers, and the process that started them";
    EXPECT_EQ(peak_of(run.processes[2], 0) + peak_of(run.processes[2], 1), 0) << "which renders nothing";
    std::set<size_t> used;
    for (size_t worker = 0; worker < 2; ++worker)
      for (size_t device = 0; device < 2; ++device)
        if (peak_of(run.processes[worker], device) > 0) used.insert(device);
    EXPECT_EQ(used.size(), 2u);
    for (size_t worker = 0; worker < 2; ++worker)
      EXPECT_EQ(std::min(peak_of(run.processes[worker], 0), peak_of(run.processes[worker], 1)), 0)
          << "each keeps to its own";
  }
}

TEST_F(StandInBatch, TheSecondDevice) {
  const StandInRun run = batch("out", {"--device", "cuda:1"}, {"STAND_IN_DEVICES=2"});
  ASSERT_EQ(run.result.exit_code, 0) << run.result.err;
  EXPECT_EQ(peak_of(run.report(), 0), 0);
  EXPECT_GT(peak_of(run.report(), 1), 0);
}

TEST_F(StandInBatch, TooLittleMemoryHalvesTheBatch) {
  const std::vector<std::string> large = {"--device", "cuda", "--size", "128x128", "--frames", "17"};
  const auto with = [&](const std::string& size) {
    std::vector<std::string> all = large;
    all.insert(all.end(), {"--batch-size", size});
    return all;
  };
  const StandInRun two = batch("two", with("2")), four = batch("four", with("4"));
  ASSERT_EQ(two.result.exit_code + four.result.exit_code, 0) << two.result.err << four.result.err;
  ASSERT_GT(peak_of(four.report(), 0), peak_of(two.report(), 0) * 11 / 10);
  const int64_t limit = peak_of(two.report(), 0) * 21 / 20;
  const StandInRun run = batch("limited", with("4"), {"STAND_IN_MEMORY=" + std::to_string(limit)});
  EXPECT_EQ(run.result.exit_code, 0) << run.result.err;
  EXPECT_NE(run.result.err.find("out of memory with 4 jobs in a batch; continuing with 2"), std::string::npos)
      << run.result.err;
  EXPECT_GE(run.of("emptied"), 1);
}

TEST_F(StandInBatch, LatentsAreDecodedOnTheDevice) {
  const std::string recipe = R"({"job": {"prompt": "a cat", "width": 32, "height": 32, "frames": 5}})";
  write_safetensors(folder / "z.safetensors", {{"latents", at::linspace(-2, 2, 16 * 2 * 4 * 4).view({1, 16, 2, 4, 4})}},
                    {{"tessera", recipe}});
  const auto decode = [&](const std::string& device) {
    return std::vector<std::string>{
        "decode", (folder / "z.safetensors").string(),        "--model",  kBatchModel, "-q",
        "-o",     (folder / (device + "_%01d.png")).string(), "--device", device,      "--dtype",
        "fp32"};
  };
  ASSERT_EQ(tessera(decode("cpu")).exit_code, 0);
  const StandInRun run = done_on_stand_in(decode("cuda"));
  EXPECT_GT(run.of("convolutions"), 0);
  for (const char* frame : {"0", "4"}) {
    const auto read = [&](const std::string& device) {
      return read_picture(folder / (device + "_" + frame + ".png")).to(at::kInt);
    };
    EXPECT_LE((read("cpu") - read("cuda")).abs().max().item<int64_t>(), 1) << frame;
  }
}

}  // namespace
}  // namespace tessera::test
