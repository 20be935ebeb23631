#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>

#include "tests/support/batch.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::ProcessResult;

class BatchTogether : public test::BatchTest {};

/// Started with two threads, between which sums could be shared out differently for other batch sizes.
class BatchTogetherInTwoThreads : public test::BatchTest {
 protected:
  static void SetUpTestSuite() { setenv("OMP_NUM_THREADS", "2", 1); }
};

/// Jobs that differ in all that may differ within a shared call of the network.
std::string mixed_jobs() {
  return R"({"version": 1, "defaults": {"steps": 3}, "prompts": [
    {"id": "a", "prompt": "a red star", "frames": 1, "seed": 1},
    {"id": "b", "prompt": "a cat", "frames": 5, "seed": 2},
    {"id": "c", "prompt": "a dog", "frames": 1, "seed": 3, "cfg_scale": 1},
    {"id": "d", "prompt": "a red star", "frames": 1, "seed": 4, "sampler": "sa_solver"},
    {"id": "e", "prompt": "x", "frames": 1, "seed": 5, "step_cache": 0.3},
    {"id": "f", "prompt": "y", "frames": 5, "seed": 6, "negative_prompt": "rain"},
    {"id": "g", "prompt": "one two three", "frames": 1, "seed": 7, "cfg_zero": true},
    {"id": "h", "prompt": "z", "frames": 5, "seed": 8, "guidance_interval": "0:0.5"},
    {"id": "i", "prompt": "z", "frames": 1, "seed": 9, "steps": 5}]})";
}

TEST_F(BatchTogetherInTwoThreads, AnyBatchSizeGivesTheSameBytes) {
  for (const std::string dtype : {"fp32", "bf16"}) {
    ASSERT_EQ(run(mixed_jobs(), {"--dtype", dtype}, dtype + "1").exit_code, 0);
    const auto want = outputs(dtype + "1");
    EXPECT_EQ(want.size(), 9u);
    for (const std::string size : {"2", "4"}) {
      const ProcessResult result = run(mixed_jobs(), {"--dtype", dtype, "--batch-size", size}, dtype + size);
      EXPECT_EQ(result.exit_code, 0) << result.err;
      EXPECT_TRUE(outputs(dtype + size) == want) << dtype << " " << size;
      EXPECT_NE(result.err.find("e: step cache: 1 of 3 network calls skipped"), std::string::npos) << result.err;
      for (const json& entry : manifest(dtype + size)) {
        EXPECT_EQ(entry.contains("step_cache"), entry["id"] == "e") << entry;
        if (entry.contains("step_cache")) {
          EXPECT_EQ(entry["step_cache"]["reused"], 1) << entry;
        }
      }
    }
  }
  EXPECT_EQ(run(mixed_jobs(), {"--batch-size", "3", "--deterministic"}, "alone").exit_code, 0);
  EXPECT_TRUE(outputs("alone") == outputs("fp321"));
}

TEST_F(BatchTogetherInTwoThreads, SoItDoesWithTheBundledModel) {
  const std::string model = fs::path(TESSERA_SOURCE_DIR) / "weights" / "bundled";
  const std::string prompts = R"([{"id": "a", "prompt": "a red star", "seed": 1}, {"id": "b", "prompt": "a blue moon"},
    {"id": "c", "prompt": "a heart", "frames": 5}, {"id": "d", "prompt": "a square", "frames": 5, "cfg_scale": 2},
    {"id": "e", "prompt": "a green disc moving left"}])";
  const auto with = [&](const std::string& dtype, const std::string& size) {
    const std::string out = dtype + size;
    EXPECT_EQ(run(prompts,
                  {"--model", model, "--dtype", dtype, "--size", "64x64", "--steps", "2", "--frames", "1",
                   "--max-sequence-length", "32", "--batch-size", size},
                  out)
                  .exit_code,
              0);
    return outputs(out);
  };
  for (const std::string dtype : {"fp32", "bf16"}) {
    const auto want = with(dtype, "1");
    EXPECT_EQ(want.size(), 5u);
    EXPECT_TRUE(with(dtype, "3") == want) << dtype;
  }
}

/// The most address space of a run; `limit_kilobytes` > 0 limits it.
struct MeasuredRun {
  ProcessResult result;
  long peak_kilobytes = 0;
};

MeasuredRun measure(std::vector<std::string> arguments, long limit_kilobytes) {
  if (limit_kilobytes > 0) {
    const std::string limit = "ulimit -v " + std::to_string(limit_kilobytes) + "; exec \"$0\" \"$@\"";
    arguments.insert(arguments.begin(), {"/bin/sh", "-c", limit});
  }
  test::Process process(arguments);
  MeasuredRun run;
  const std::string status = "/proc/" + std::to_string(process.id()) + "/status";
  for (std::string text = "VmPeak"; text.find("VmPeak") != std::string::npos; text = test::read_text(status)) {
    if (const size_t at = text.find("VmPeak:"); at != std::string::npos)
      run.peak_kilobytes = std::max(run.peak_kilobytes, std::stol(text.substr(at + 7)));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  run.result = process.wait();
  return run;
}

TEST_F(BatchTogether, WhenMemoryRunsOutTheBatchIsHalvedAndNothingChanges) {
  json prompts = json::array();
  for (int i = 0; i < 128; ++i) prompts.push_back({{"prompt", "a star"}, {"seed", i}});
  const auto arguments = [&](const std::string& out, const std::string& size) {
    return test::batch_arguments(
        write(prompts.dump()), folder / out,
        {"--steps", "1", "--frames", "1", "--max-sequence-length", "512", "--batch-size", size});
  };
  const MeasuredRun one = measure(arguments("one", "1"), 0), all = measure(arguments("all", "128"), 0);
  ASSERT_EQ(one.result.exit_code, 0) << one.result.err;
  ASSERT_EQ(all.result.exit_code, 0) << all.result.err;
  EXPECT_TRUE(outputs("all") == outputs("one"));
  ASSERT_GT(all.peak_kilobytes, one.peak_kilobytes + 50000);
  // Enough for half of them; where a library's own buffers do not fit it may crash instead of throwing.
  const MeasuredRun limited =
      measure(arguments("limited", "128"), one.peak_kilobytes + (all.peak_kilobytes - one.peak_kilobytes) * 3 / 4);
  EXPECT_EQ(limited.result.exit_code, 0) << limited.result.err;
  EXPECT_NE(limited.result.err.find("out of memory with 128 jobs in a batch; continuing with 64"), std::string::npos)
      << limited.result.err;
  EXPECT_TRUE(outputs("limited") == outputs("one"));
}

TEST_F(BatchTogether, AFailureToWriteIsThatJobsOwn) {
  const std::string prompts = R"([{"id": "a", "prompt": "a", "seed": 1}, {"id": "b", "prompt": "b", "frames": 17,
    "width": 64, "height": 64}, {"id": "c", "prompt": "c", "frames": 5}, {"id": "d", "prompt": "d"}])";
  const std::vector<std::string> more = {"--steps", "1", "--frames", "1", "--batch-size", "4"};
  ASSERT_EQ(run(prompts, more, "whole").exit_code, 0);
  const auto size = static_cast<long>(fs::file_size(folder / "whole" / "b.mp4"));
  const ProcessResult failed = run(prompts, more, "out", size - 100);
  EXPECT_EQ(failed.exit_code, 3) << failed.err;
  EXPECT_NE(failed.err.find("b failed: "), std::string::npos) << failed.err;
  EXPECT_NE(failed.err.find("1 of 4 jobs failed"), std::string::npos) << failed.err;
  for (const json& entry : manifest()) EXPECT_EQ(entry["status"], entry["id"] == "b" ? "failed" : "done") << entry;
  std::vector<std::string> resume = more;
  resume.push_back("--resume");
  EXPECT_EQ(run(prompts, resume).exit_code, 0);
  EXPECT_TRUE(outputs("out") == outputs("whole"));
}

/// A folder of 1 MB of its own where the system lets a test mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& folder) : folder_(folder) {
    fs::create_directories(folder);
    mounted_ = mount("none", folder.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(folder_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  fs::path folder_;
  bool mounted_ = false;
};

/// Takes all that is free but `spare` bytes.
void fill(const fs::path& file, int64_t spare) {
  std::ofstream out(file, std::ios::binary | std::ios::app);
  const std::array<char, 4096> block{};
  for (auto free = static_cast<int64_t>(fs::space(file.parent_path()).available); free > spare; free -= 4096)
    out.write(block.data(), block.size());
}

TEST_F(BatchTogether, ADiskThatFillsUpAndIsClearedEndsAsIfNothingHadHappened) {
  ASSERT_EQ(run(thirty_jobs(), {}, "whole").exit_code, 0);
  const auto want = outputs("whole");
  int stopped = 0;
  for (const int64_t spare : {0, 8192, 16384}) {
    const std::string out = "out" + std::to_string(spare);
    const SmallDisk disk(folder / out);
    if (disk.mounted()) {
      test::Process process(test::batch_arguments(write(thirty_jobs()), folder / out, {"--batch-size", "3"}));
      const fs::path record = folder / out / "manifest.jsonl";
      ASSERT_TRUE(test::wait_until([&] { return !test::read_text(record).empty(); }));
      fill(folder / out / "filler", spare);
      const ProcessResult full = process.wait();
      EXPECT_TRUE(full.exit_code == 0 || full.exit_code == 1 || full.exit_code == 3) << full.exit_code << full.err;
      stopped += full.exit_code != 0;
      fs::remove(folder / out / "filler");
    } else {
      // No file may grow beyond the limit, the record included: the same write fails, with another reason.
      const ProcessResult full = run(thirty_jobs(), {"--batch-size", "3"}, out, 4096 + spare / 4);
      EXPECT_TRUE(full.exit_code == 0 || full.exit_code == 1 || full.exit_code == 3) << full.exit_code << full.err;
      stopped += full.exit_code != 0;
    }
    const ProcessResult resumed = run(thirty_jobs(), {"--resume"}, out);
    EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_TRUE(outputs(out) == want) << out;
  }
  EXPECT_GT(stopped, 0);
}

TEST_F(BatchTogether, FlatFramesAndNaNAreNeverASuccess) {
  using Tensors = std::map<std::string, at::Tensor>;
  const auto broken = [&](const std::string& name, const std::function<void(Tensors&)>& change) {
    const fs::path model = folder / name;
    fs::copy(test::fixture_folder() / "wan_pipeline" / "pipeline", model, fs::copy_options::recursive);
    const fs::path vae = model / "vae" / "diffusion_pytorch_model.safetensors";
    Tensors tensors = read_safetensors(vae).tensors();
    change(tensors);
    write_safetensors(vae, tensors);
    return model.string();
  };
  const auto fill_all = [](at::Tensor& tensor, double value) { tensor = at::full_like(tensor, value); };
  const std::string flat = broken("flat", [&](Tensors& tensors) {
    fill_all(tensors["decoder.conv_out.weight"], 0);
    fill_all(tensors["decoder.conv_out.bias"], 0.2);
  });
  // Finite weights, so the model loads; their products are not.
  const std::string nan = broken("nan", [&](Tensors& tensors) { fill_all(tensors["decoder.norm_out.gamma"], 3e38); });
  const std::string prompts = R"([{"id": "p", "prompt": "a"}, {"id": "v", "prompt": "b", "frames": 5}])";
  for (const auto& [model, words] : {std::pair{flat, "of a single color"}, {nan, "not finite"}}) {
    const std::string out = fs::path(model).filename().string() + "_out";
    const ProcessResult result = run(prompts, {"--steps", "1", "--frames", "1", "--model", model}, out);
    EXPECT_EQ(result.exit_code, 3) << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
    for (const json& entry : manifest(out)) {
      EXPECT_EQ(entry["status"], "bad_pixels");
      EXPECT_FALSE(fs::exists(folder / out / entry["output"].get<std::string>()));
      EXPECT_TRUE(fs::exists(folder / out / entry["latents"].get<std::string>()));
    }
  }
}

TEST_F(BatchTogether, ASecondSignalStopsAtOnce) {
  const auto arguments = test::batch_arguments(write(R"([{"prompt": "a"}, {"prompt": "b"}])"), folder / "out",
                                               {"--model", fs::path(TESSERA_SOURCE_DIR) / "weights" / "bundled",
                                                "--size", "768x768", "--frames", "17", "--max-sequence-length", "32"});
  test::Process process(arguments);
  // Its writer is open, so the sampling begins; one call of the network takes seconds, and a stop waits for its end.
  const auto begun = [&] {
    const auto names = fs::exists(folder / "out") ? test::listing(folder / "out") : std::vector<std::string>();
    return std::any_of(names.begin(), names.end(), [](const auto& name) { return name.ends_with(".part"); });
  };
  ASSERT_TRUE(test::wait_until(begun));
  const double before = process.cpu_seconds();  // the weights take a tenth of that, so this is within the first call
  ASSERT_TRUE(test::wait_until([&] { return process.cpu_seconds() > before + 0.5; }));
  process.signal_taken(SIGINT);
  process.signal(SIGINT);
  const ProcessResult result = process.wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.err.find("stopped by a signal"), std::string::npos) << "it ended in its own time: " << result.err;
  EXPECT_FALSE(begun()) << "an unfinished file stayed";
}

TEST_F(BatchTogether, ADryRunTimesDecodingToo) {
  const ProcessResult machine = run(mixed_jobs(), {"--dry-run", "--json"});
  EXPECT_EQ(machine.exit_code, 0) << machine.err;
  EXPECT_GT(json::parse(machine.out)["decode_seconds"].get<double>(), 0.0);
  EXPECT_NE(run(mixed_jobs(), {"--dry-run"}).out.find(" are decoding and writing\n"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "out"));
}

}  // namespace
}  // namespace tessera
