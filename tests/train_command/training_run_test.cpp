// The built program trains: killed at random moments and started again, stopped, and on several ranks.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kKills = 3;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Every finished file of a folder, or the one file, by its name below it. A killed run may leave hidden parts.
std::map<std::string, std::string> contents(const fs::path& path) {
  if (fs::is_regular_file(path)) return {{"", test::read_text(path)}};
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file() && !entry.path().filename().string().starts_with('.'))
      files[entry.path().lexically_relative(path).string()] = test::read_text(entry.path());
  return files;
}

class TrainingRunCommand : public testing::Test {
 protected:
  test::TemporaryFolder folder;
  const std::string model = (test::fixture_folder() / "wan_pipeline" / "pipeline").string();

  void SetUp() override {
    run({"train", "scenes", folder / "data", "--clips", "2", "--stills", "4", "--side", "32", "--frames", "9"});
  }

  static std::vector<std::string> environment() { return {"OMP_NUM_THREADS=1"}; }

  static void run(const std::vector<std::string>& arguments) {
    const test::ProcessResult result = test::tessera(arguments, environment());
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }

  std::vector<std::string> preparation(const std::string& cache) const {
    return {"train",   "prepare", folder / "data", "--model", model,      "--cache", folder / cache,
            "--width", "32",      "--height",      "32",      "--frames", "5",       "--fps",
            "8",       "--dtype", "fp32",          "--quiet"};
  }

  /// Writes the config of a training and returns its command.
  std::vector<std::string> training(const std::string& method, const std::string& name, nlohmann::json config,
                                    const std::string& output) const {
    config["model"] = model;
    config["cache"] = (folder / "cache").string();
    config["run"] = (folder / ("run_" + name)).string();
    config["output"] = (folder / output).string();
    config["dtype"] = "fp32";
    test::write_bytes(folder / (name + ".json"), config.dump());
    return {"train", method, "--config", folder / (name + ".json")};
  }

  /// Runs `whole` once, `killed` until its end with kills on the way, and compares what they leave.
  void expect_same(const std::vector<std::string>& whole, const fs::path& whole_output,
                   const std::vector<std::string>& killed, const fs::path& killed_output) {
    const Clock::time_point begin = Clock::now();
    run(whole);
    const double length = seconds_since(begin);
    std::mt19937 random(7);
    std::vector<std::string> arguments = killed;
    arguments.insert(arguments.begin(), TESSERA_BINARY);
    int kills = 0;
    for (int attempt = 0; attempt < 10 && kills < kKills; ++attempt) {
      const test::Process process(arguments, environment());
      std::this_thread::sleep_for(
          std::chrono::duration<double>(std::uniform_real_distribution<double>(0.2, 0.7)(random) * length));
      if (!process.kill()) break;  // it had ended
      ++kills;
    }
    EXPECT_GT(kills, 0);
    run(killed);
    const auto wanted = contents(whole_output), found = contents(killed_output);
    ASSERT_FALSE(wanted.empty());
    ASSERT_EQ(found.size(), wanted.size());
    for (const auto& [name, bytes] : wanted) {
      ASSERT_TRUE(found.count(name)) << name;
      EXPECT_TRUE(found.at(name) == bytes) << name << " differs after " << kills << " kills";
    }
  }
};

TEST_F(TrainingRunCommand, KilledPreparationLeavesTheSameCache) {
  expect_same(preparation("whole"), folder / "whole", preparation("killed"), folder / "killed");
}

TEST_F(TrainingRunCommand, AKilledLoraIsTheSame) {
  run(preparation("cache"));
  const nlohmann::json config = {{"steps", 25},           {"batch", 2}, {"accumulate", 2}, {"checkpoint_minutes", 0},
                                 {"learning_rate", 1e-3}, {"rank", 4}};
  expect_same(training("lora", "whole", config, "whole.safetensors"), folder / "whole.safetensors",
              training("lora", "killed", config, "killed.safetensors"), folder / "killed.safetensors");
}

TEST_F(TrainingRunCommand, AKilledModelIsTheSame) {
  run(preparation("cache"));
  const nlohmann::json config = {{"steps", 20},         {"batch", 2},       {"checkpoint_minutes", 0},
                                 {"muon_rate", 0.01},   {"ema_decay", 0.9}, {"validation", 0.2},
                                 {"validate_every", 5}, {"samples", 1},     {"sample_steps", 1}};
  expect_same(training("full", "whole", config, "whole"), folder / "whole",
              training("full", "killed", config, "killed"), folder / "killed");
}

TEST_F(TrainingRunCommand, AKilledLinearizationIsTheSame) {
  run(preparation("cache"));
  const nlohmann::json stage = {{"steps", 12}, {"batch", 2}, {"checkpoint_minutes", 0}};
  const nlohmann::json config = {
      {"attention", {{"kind", "mhla"}, {"softmax_layers", {0}}}}, {"stage1", stage}, {"stage2", stage}};
  expect_same(training("linearize", "whole", config, "whole"), folder / "whole",
              training("linearize", "killed", config, "killed"), folder / "killed");
}

TEST_F(TrainingRunCommand, CtrlCKeepsTheStepsAndTheSameCommandGoesOn) {
  run(preparation("cache"));
  const nlohmann::json config = {{"steps", 100000}, {"checkpoint_minutes", 1000}, {"log_every", 1}};
  std::vector<std::string> arguments = training("lora", "stopped", config, "lora.safetensors");
  arguments.insert(arguments.begin(), TESSERA_BINARY);
  test::Process process(arguments, environment());
  ASSERT_TRUE(process.said("lora 2 "));
  process.signal(SIGINT);
  const test::ProcessResult result = process.wait();
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_NE(result.err.find("all of them kept in " + (folder / "run_stopped/checkpoint.safetensors").string()),
            std::string::npos)
      << result.err;
  test::Process again(arguments, environment());
  EXPECT_TRUE(again.said("continuing from"));
  EXPECT_FALSE(fs::exists(folder / "lora.safetensors"));
}

TEST_F(TrainingRunCommand, TwoProcessesOfALauncherTrainAsOne) {
  run(preparation("cache"));
  const nlohmann::json config = {{"steps", 5}, {"batch", 2}, {"accumulate", 2}, {"rank", 4}};
  run(training("lora", "alone", config, "alone.safetensors"));
  std::vector<std::string> arguments = training("lora", "both", config, "both.safetensors");
  arguments.insert(arguments.begin(), TESSERA_BINARY);
  const auto as_rank = [](const std::string& rank) {
    return std::vector<std::string>{"OMP_NUM_THREADS=1",  "RANK=" + rank,       "WORLD_SIZE=2",
                                    "LOCAL_RANK=" + rank, "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1"};
  };
  test::Process first(arguments, as_rank("0")), second(arguments, as_rank("1"));
  const test::ProcessResult led = first.wait(), followed = second.wait();
  ASSERT_EQ(led.exit_code, 0) << led.err;
  ASSERT_EQ(followed.exit_code, 0) << followed.err;
  EXPECT_EQ(followed.err.find("wrote "), std::string::npos) << followed.err;
  const TensorFile alone = read_safetensors(folder / "alone.safetensors");
  const TensorFile both = read_safetensors(folder / "both.safetensors");
  for (const auto& [name, tensor] : alone.tensors()) {
    SCOPED_TRACE(name);
    EXPECT_CLOSE(both.at(name), tensor, 1e-2);  // Adam makes steps of rounding where a gradient is about zero
  }
}

}  // namespace
}  // namespace tessera
