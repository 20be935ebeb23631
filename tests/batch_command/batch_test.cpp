#include "tests/support/batch.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::batch_arguments;
using test::ProcessResult;

class Batch : public test::BatchTest {};

TEST_F(Batch, QuietPrintsNothingButErrors) {
  const ProcessResult result = run(R"(["a red star"])", {"--steps", "1", "--frames", "1", "-q"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out, (folder / "out" / "000000.png").string() + "\n");
  const ProcessResult refused = run(R"(["a red star"])", {"--steps", "1", "--frames", "1", "-q"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("holds an earlier batch"), std::string::npos) << refused.err;
}

TEST_F(Batch, RendersWhatGenerateRenders) {
  const ProcessResult result = run(R"(["a red star", {"id": "sub/clip", "prompt": "a cat", "frames": 5, "seed": 3}])",
                                   {"--steps", "2", "--seed", "7", "--frames", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            (folder / "out" / "000000.png").string() + "\n" + (folder / "out" / "sub/clip.mp4").string() + "\n");
  EXPECT_EQ(test::listing(folder / "out"),
            (std::vector<std::string>{".tessera.lock", "000000.png", "manifest.jsonl", "sub", "sub/clip.mp4"}));
  const std::string model = test::fixture_folder() / "wan_pipeline" / "pipeline";
  ASSERT_EQ(test::tessera({"generate", "a cat", "--model", model, "--size", "32x32", "--max-sequence-length", "16",
                           "--dtype", "fp32", "--steps", "2", "--frames", "5", "--seed", "3", "-o", folder / "x.mp4"})
                .exit_code,
            0);
  EXPECT_EQ(test::read_text(folder / "x.mp4"), test::read_text(folder / "out" / "sub/clip.mp4"));
  const auto entries = manifest();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0]["id"], "000000");
  EXPECT_EQ(entries[0]["status"], "done");
  EXPECT_EQ(entries[0]["recipe"]["seed"], 7);
  EXPECT_EQ(entries[1]["output"], "sub/clip.mp4");
  EXPECT_EQ(entries[0]["hash"].get<std::string>().size(), 64u);
}

TEST_F(Batch, KilledAnywhereAndResumedItEndsAsIfNothingHadHappened) {
  const ProcessResult whole = run(thirty_jobs(), {}, "whole");
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const auto want = outputs("whole");
  ASSERT_EQ(want.size(), 30u);

  const auto lines = [&](const std::string& out) {
    const std::string text = test::read_text(folder / out / "manifest.jsonl");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  };
  std::mt19937 random(4);
  int kills = 0, rounds = 0;
  while (kills < 50) {
    const std::string out = "out" + std::to_string(rounds++);
    const auto arguments = [&](const std::string& size) {
      return batch_arguments(write(thirty_jobs()), folder / out, {"--resume", "--batch-size", size});
    };
    for (int start = 0; start < 40; ++start) {
      const size_t recorded = lines(out);
      test::Process process(arguments(std::to_string(1 + random() % 4)));
      // From before the first file to after the last one; later starts have less left to do.
      if (const size_t more = random() % 8; more > 0) {
        test::wait_until([&] { return process.has_ended() || lines(out) >= recorded + more; });
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % 10));  // to any moment of a job
      }
      process.signal(SIGKILL);
      if (process.wait().exit_code == 128 + SIGKILL) ++kills;
      if (fs::exists(folder / out / "manifest.jsonl") && random() % 8 == 0) {
        // What a power cut may leave: a line without its end.
        std::ofstream(folder / out / "manifest.jsonl", std::ios::app) << "{\"id\":\"job1\",\"status\":\"do";
      }
      if (random() % 4 == 0) break;
    }
    const ProcessResult last = test::Process(arguments("1")).wait();
    ASSERT_EQ(last.exit_code, 0) << last.err;
    EXPECT_EQ(outputs(out), want);
    std::map<std::string, int> times;
    for (const json& entry : manifest(out)) {
      EXPECT_EQ(entry["status"], "done");
      ++times[entry["id"]];
    }
    EXPECT_EQ(times.size(), 30u);
    for (const auto& [id, count] : times) EXPECT_EQ(count, 1) << id << " was rendered again after it was recorded";
  }
}

TEST_F(Batch, ResumeRedoesWhatChangedAndNothingElse) {
  ASSERT_EQ(
      run(R"([{"id": "a", "prompt": "a cat"}, {"id": "b", "prompt": "a dog"}])", {"--steps", "1", "--frames", "1"})
          .exit_code,
      0);
  const std::string changed =
      R"([{"id": "a", "prompt": "a cat"}, {"id": "b", "prompt": "a bird"}, {"id": "c", "prompt": "x"}])";
  const ProcessResult second = run(changed, {"--steps", "1", "--frames", "1", "--resume"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_NE(second.err.find("2 rendered, 1 done already, 0 failed"), std::string::npos) << second.err;
  // A file that was altered or removed is made again, with the same bytes.
  const auto want = outputs("out");
  std::ofstream(folder / "out" / "a.png", std::ios::app) << "x";
  fs::remove(folder / "out" / "c.png");
  const ProcessResult third = run(changed, {"--steps", "1", "--frames", "1", "--resume"});
  EXPECT_NE(third.err.find("2 rendered, 1 done already"), std::string::npos) << third.err;
  EXPECT_EQ(outputs("out"), want);
}

TEST_F(Batch, EarlierWorkIsNotOverwrittenUnasked) {
  const std::string prompts = R"([{"id": "a", "prompt": "a cat"}])";
  const std::vector<std::string> quick = {"--steps", "1", "--frames", "1"};
  ASSERT_EQ(run(prompts, quick).exit_code, 0);
  const ProcessResult again = run(prompts, quick);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_NE(again.err.find("holds an earlier batch"), std::string::npos) << again.err;
  fs::remove(folder / "out" / "manifest.jsonl");
  EXPECT_NE(run(prompts, quick).err.find("a.png exists already"), std::string::npos);
  EXPECT_EQ(run(prompts, {"--steps", "1", "--frames", "1", "--overwrite"}).exit_code, 0);
}

TEST_F(Batch, TwoProgramsDoNotShareAFolder) {
  fs::create_directory(folder / "out");
  const int held = open((folder / "out" / ".tessera.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(flock(held, LOCK_EX | LOCK_NB), 0);
  ASSERT_EQ(::write(held, "4711\n", 5), 5);
  const ProcessResult result = run(R"(["a"])", {"--steps", "1", "--frames", "1", "--resume"});
  close(held);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("another tessera (process 4711) is using the folder"), std::string::npos) << result.err;
}

TEST_F(Batch, AFailedJobIsRecordedAndTheOthersGoOn) {
  fs::create_directories(folder / "out" / "b.mp4");  // a folder where a file should go
  const std::string prompts =
      R"([{"id": "a", "prompt": "a"}, {"id": "b", "prompt": "b", "frames": 5}, {"id": "c", "prompt": "c"}])";
  const ProcessResult first = run(prompts, {"--steps", "1", "--frames", "1", "--overwrite"});
  EXPECT_EQ(first.exit_code, 3) << first.err;
  EXPECT_NE(first.err.find("b failed: "), std::string::npos) << first.err;
  EXPECT_NE(first.err.find("1 of 3 jobs failed"), std::string::npos) << first.err;
  ASSERT_EQ(manifest().size(), 3u);
  EXPECT_EQ(manifest()[1]["status"], "failed");
  fs::remove(folder / "out" / "b.mp4");
  const ProcessResult second = run(prompts, {"--steps", "1", "--frames", "1", "--resume"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_NE(second.err.find("1 rendered, 2 done already, 0 failed"), std::string::npos) << second.err;
}

TEST_F(Batch, MaxFailuresStops) {
  fs::create_directories(folder / "out" / "a.png");
  const ProcessResult result = run(R"([{"id": "a", "prompt": "a"}, {"id": "c", "prompt": "c"}])",
                                   {"--steps", "1", "--frames", "1", "--overwrite", "--max-failures", "1"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_NE(result.err.find("stopped after 1 failed jobs"), std::string::npos) << result.err;
  EXPECT_EQ(manifest().size(), 1u);
}

/// A file limit lets the latents and the record through and stops the video.
TEST_F(Batch, AFailureToWriteCostsNoSampling) {
  const std::string prompts = R"([{"id": "v", "prompt": "a cat", "seed": 5, "frames": 17, "width": 64, "height": 64}])";
  ASSERT_EQ(run(prompts, {"--steps", "2"}, "whole").exit_code, 0);
  const auto size = static_cast<long>(fs::file_size(folder / "whole" / "v.mp4"));
  const ProcessResult failed = run(prompts, {"--steps", "2"}, "out", size - 100);
  ASSERT_EQ(failed.exit_code, 3) << failed.err << size;
  EXPECT_NE(failed.err.find("would be larger than allowed"), std::string::npos) << failed.err;
  EXPECT_EQ(test::listing(folder / "out"),
            (std::vector<std::string>{".tessera.lock", "latents", "latents/v.safetensors", "manifest.jsonl"}));
  EXPECT_EQ(manifest()[0]["latents"], "latents/v.safetensors");

  const ProcessResult decoded =
      test::tessera({"decode", folder / "out" / "latents/v.safetensors", "-o", folder / "d.mp4"});
  EXPECT_EQ(decoded.exit_code, 0) << decoded.err;
  EXPECT_EQ(test::read_text(folder / "d.mp4"), test::read_text(folder / "whole" / "v.mp4"));

  const ProcessResult resumed = run(prompts, {"--steps", "2", "--resume"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(outputs("out"), outputs("whole"));
  EXPECT_EQ(manifest().back()["seconds"]["denoise"], 0.0) << "it was sampled again";
}

TEST_F(Batch, BlackFramesAreNeverASuccess) {
  const fs::path model = folder / "model";
  fs::copy(test::fixture_folder() / "wan_pipeline" / "pipeline", model, fs::copy_options::recursive);
  const fs::path vae = model / "vae" / "diffusion_pytorch_model.safetensors";
  std::map<std::string, at::Tensor> tensors = read_safetensors(vae).tensors();
  tensors["decoder.conv_out.weight"] = at::zeros_like(tensors["decoder.conv_out.weight"]);
  tensors["decoder.conv_out.bias"] = at::full_like(tensors["decoder.conv_out.bias"], -1.0);
  write_safetensors(vae, tensors);
  const ProcessResult result = run(R"([{"id": "p", "prompt": "a"}, {"id": "v", "prompt": "b", "frames": 5}])",
                                   {"--steps", "1", "--frames", "1", "--model", model});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_NE(result.err.find("the frames of v.mp4 are black"), std::string::npos) << result.err;
  for (const json& entry : manifest()) {
    EXPECT_EQ(entry["status"], "bad_pixels");
    EXPECT_EQ(entry["latents"], "latents/" + entry["id"].get<std::string>() + ".safetensors");
    EXPECT_FALSE(fs::exists(folder / "out" / entry["output"].get<std::string>()));
    EXPECT_TRUE(fs::exists(folder / "out" / entry["latents"].get<std::string>()));
  }
}

TEST_F(Batch, DecodeRefusesWhatHoldsNoRecipe) {
  const auto noise = test::fixture_folder() / "wan_pipeline" / "init_noise.safetensors";
  const ProcessResult result = test::tessera({"decode", noise, "-o", folder / "d.mp4"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("has no recipe"), std::string::npos) << result.err;
}

TEST_F(Batch, MistakesAreFoundBeforeAnythingIsMade) {
  const ProcessResult result =
      run("[\n{\"prompt\": \"a\", \"stepz\": 3},\n{\"id\": \"../x\", \"prompt\": \"b\"},\n"
          "{\"prompt\": \"c\", \"width\": 33}\n]");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("line 2: unknown key \"stepz\" (did you mean \"steps\"?)"), std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("line 3: the id \"../x\" climbs out"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(folder / "out"));
  // What only the model knows comes next, with lines too.
  const ProcessResult size =
      run("[\"a\",\n{\"prompt\": \"c\", \"width\": 33},\n{\"prompt\": \"c\", \"sampler\": \"eulr\"}]");
  EXPECT_EQ(size.exit_code, 2);
  EXPECT_NE(size.err.find("line 2: size 33x32 does not fit"), std::string::npos) << size.err;
  EXPECT_NE(size.err.find("line 3: "), std::string::npos) << size.err;
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(Batch, OutputsOfOneNameAreRefused) {
  const ProcessResult result =
      run("[{\"id\": \"a\", \"prompt\": \"a\"},\n{\"id\": \"b\", \"prompt\": \"b\", \"output\": \"A.png\"}]",
          {"--frames", "1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("line 2: the output A.png is also that of \"a\""), std::string::npos) << result.err;
}

TEST_F(Batch, ADryRunPrintsThePlanAndMakesNothing) {
  const ProcessResult result = run(thirty_jobs(), {"--dry-run"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("job0.mp4  32x32, 5 frames, 1 step, seed 0  a star, number 0\n"), std::string::npos);
  EXPECT_NE(result.out.find("30 outputs, 0 done already; at most "), std::string::npos) << result.out;
  EXPECT_FALSE(fs::exists(folder / "out"));
  const ProcessResult machine = run(thirty_jobs(), {"--dry-run", "--json"});
  const json plan = json::parse(machine.out);
  EXPECT_EQ(plan["outputs"], 30);
  EXPECT_GT(plan["denoise_seconds"].get<double>(), 0.0);
}

TEST_F(Batch, ADryRunCountsWhatRanksRecordedAndNobodyMerged) {
  ASSERT_EQ(run(thirty_jobs()).exit_code, 0);
  std::istringstream lines(test::read_text(folder / "out" / "manifest.jsonl"));
  fs::remove(folder / "out" / "manifest.jsonl");
  int at = 0;
  for (std::string line; std::getline(lines, line) && at < 20; ++at) {
    const std::string name = at < 4 ? "manifest.jsonl" : "manifest.rank" + std::to_string(at % 2) + ".jsonl";
    std::ofstream(folder / "out" / name, std::ios::app) << line << "\n";
  }
  std::ofstream(folder / "out" / "manifest.rank1.jsonl", std::ios::app) << "{\"id\": \"job25\", \"sta";
  // A later record that a job failed counts for more.
  std::ofstream(folder / "out" / "manifest.rank3.jsonl")
      << json{{"id", "job0"}, {"status", "failed"}, {"output", "job0.mp4"}, {"hash", ""}, {"sha256", ""}}.dump()
      << "\n";
  const auto before = test::listing(folder / "out");
  const ProcessResult resumed = run(thirty_jobs(), {"--dry-run", "--resume", "--json"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(json::parse(resumed.out)["done_already"], 19);
  EXPECT_EQ(test::listing(folder / "out"), before);
  EXPECT_EQ(json::parse(run(thirty_jobs(), {"--dry-run", "--json"}).out)["done_already"], 0);
  const ProcessResult real = run(thirty_jobs(), {"--resume"});
  EXPECT_NE(real.err.find("11 rendered, 19 done already"), std::string::npos) << real.err;
}

TEST_F(Batch, SignalsStopCleanlyAndResumeGoesOn) {
  for (const auto& [signal, exit_code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    const std::string out = "out" + std::to_string(signal);
    json prompts = json::array();
    for (int i = 0; i < 20; ++i) prompts.push_back({{"prompt", "a"}, {"seed", i}});
    const auto path = write(prompts.dump());
    const auto arguments = batch_arguments(path, folder / out, {"--steps", "200", "--frames", "5", "--resume"});
    test::Process process(arguments);
    const auto record = folder / out / "manifest.jsonl";
    ASSERT_TRUE(test::wait_until([&] { return !test::read_text(record).empty(); }));
    process.signal(signal);
    const ProcessResult result = process.wait();
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_NE(result.err.find("stopped by a signal; "), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("of 20 outputs are done; continue with --resume"), std::string::npos) << result.err;
    const size_t done = manifest(out).size();
    EXPECT_GE(done, 1u);
    EXPECT_LT(done, 20u);
    for (const std::string& name : test::listing(folder / out))
      EXPECT_EQ(name.find(".part"), std::string::npos) << name;
  }
}

TEST_F(Batch, FramesAndFormats) {
  const ProcessResult frames =
      run(R"([{"id": "a", "prompt": "a", "seed": [1, 2]}])", {"--steps", "1", "--frames", "5", "--format", "frames"});
  EXPECT_EQ(frames.exit_code, 0) << frames.err;
  EXPECT_TRUE(fs::exists(folder / "out" / "a_seed2" / "0004.png"));
  EXPECT_EQ(run(R"([{"id": "a", "prompt": "a"}])", {"--steps", "1", "--frames", "5", "--format", "xyz"}, "x").exit_code,
            2);
}

TEST_F(Batch, ManyJobsTakeNoMoreMemory) {
  const auto prompts = [&](int count) {
    json list = json::array();
    for (int i = 0; i < count; ++i) list.push_back({{"prompt", "a star, number " + std::to_string(i)}, {"seed", i}});
    return write(list.dump());
  };
  const auto peak = [&](int count) {
    test::Process process(
        batch_arguments(prompts(count), folder / std::to_string(count), {"--steps", "1", "--frames", "1"}));
    const ProcessResult result = process.wait();
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return static_cast<double>(result.peak_kilobytes);
  };
  const double few = peak(50);
  EXPECT_LT(peak(300), 1.05 * few);
}

}  // namespace
}  // namespace tessera
