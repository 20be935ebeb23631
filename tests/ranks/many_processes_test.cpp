#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <deque>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/support/batch.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::notes_of;
using test::Process;
using test::ProcessResult;

constexpr int kJobs = 14;

/// Pictures and videos in turn; `change` makes it another file.
std::string prompts(const std::string& change = "") {
  json list = json::array();
  for (int i = 0; i < kJobs; ++i)
    list.push_back({{"id", "job" + std::to_string(i)},
                    {"prompt", "a star, number " + std::to_string(i % 5) + change},
                    {"seed", i},
                    {"frames", i % 3 == 0 ? 5 : 1}});
  return list.dump();
}

/// Batches that several processes render, of jobs that take a twentieth of a second each.
class ManyProcesses : public test::BatchTest {
 protected:
  void SetUp() override {
    if (!want().empty()) return;
    ASSERT_EQ(Process(arguments("alone")).wait().exit_code, 0);
    want() = outputs("alone");
    ASSERT_EQ(want().size(), static_cast<size_t>(kJobs));
  }

  /// What one process alone renders.
  static std::map<std::string, std::string>& want() {
    static std::map<std::string, std::string> files;
    return files;
  }

  ManyProcesses() { write(prompts()); }

  std::vector<std::string> arguments(const std::string& out, const std::vector<std::string>& more = {},
                                     const std::string& file = "prompts.json") const {
    std::vector<std::string> all = test::batch_arguments(folder / file, folder / out, {"--steps", "100"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  /// As torchrun and its like would start it.
  static std::vector<std::string> environment(int rank, int size) {
    return {"RANK=" + std::to_string(rank), "WORLD_SIZE=" + std::to_string(size), "MASTER_ADDR=127.0.0.1"};
  }

  std::deque<Process> start_ranks(int size, const std::string& out, const std::vector<std::string>& more = {}) const {
    std::deque<Process> ranks;
    for (int rank = 0; rank < size; ++rank) ranks.emplace_back(arguments(out, more), environment(rank, size));
    return ranks;
  }

  /// Waits until the ranks have recorded so many jobs.
  void wait_for_work(const std::string& out, int64_t jobs = 1) const {
    const auto recorded = [&] {
      int64_t lines = 0;
      for (int rank = 0; rank < 3; ++rank) {
        const std::string text = test::read_text(folder / out / ("manifest.rank" + std::to_string(rank) + ".jsonl"));
        lines += std::count(text.begin(), text.end(), '\n');
      }
      return lines >= jobs;
    };
    ASSERT_TRUE(test::wait_until(recorded));
  }

  /// All outputs are those of one process, each recorded once, and nothing else is left.
  void expect_whole(const std::string& out) const {
    EXPECT_EQ(outputs(out), want());
    EXPECT_EQ(test::listing(folder / out).size(), kJobs + 2u) << "besides the outputs, a lock and a record";
    std::map<std::string, int> times;
    for (const json& entry : manifest(out)) {
      EXPECT_EQ(entry["status"], "done");
      ++times[entry["id"]];
    }
    EXPECT_EQ(times.size(), static_cast<size_t>(kJobs));
    for (const auto& [id, count] : times) EXPECT_EQ(count, 1) << id;
  }

  static std::vector<pid_t> children(pid_t parent) {
    const std::string id = std::to_string(parent);
    std::istringstream in(test::read_text("/proc/" + id + "/task/" + id + "/children"));
    std::vector<pid_t> found;
    for (pid_t child = 0; in >> child;) found.push_back(child);
    return found;
  }
};

TEST_F(ManyProcesses, ThreeRanksRenderWhatOneDoes) {
  auto ranks = start_ranks(3, "out");
  int printed = 0;
  for (Process& rank : ranks) {
    const ProcessResult result = rank.wait();
    EXPECT_EQ(result.exit_code, 0) << result.err;
    printed += static_cast<int>(std::count(result.out.begin(), result.out.end(), '\n'));
    const bool speaks = &rank == &ranks.front();
    EXPECT_EQ(notes_of(result.err), speaks ? "tessera: rank 0: 14 rendered, 0 done already, 0 failed\n" : "");
  }
  EXPECT_EQ(printed, kJobs);
  expect_whole("out");
}

TEST_F(ManyProcesses, ARankKilledAtAnyMomentLosesNothing) {
  std::mt19937 random(7);
  int killed = 0;
  for (int round = 0; round < 5; ++round) {
    const std::string out = "out" + std::to_string(round);
    auto ranks = start_ranks(3, out, {"--lease", "2"});
    const size_t victim = 1 + random() % 2;
    if (round > 0)
      wait_for_work(out, 1 + random() % 8);
    else
      ASSERT_TRUE(test::wait_until([&] { return fs::exists(folder / out / ".tessera.run"); }));
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 50));  // to any moment of a job
    const bool was_running = ranks[victim].kill();
    killed += was_running;
    for (size_t rank = 0; rank < 3; ++rank) {
      const ProcessResult result = ranks[rank].wait();
      EXPECT_EQ(result.exit_code, rank == victim && was_running ? 128 + SIGKILL : 0) << result.err;
    }
    expect_whole(out);
  }
  EXPECT_GT(killed, 0);
}

TEST_F(ManyProcesses, AFrozenRankLosesItsJobs) {
  auto ranks = start_ranks(3, "out", {"--lease", "2"});
  wait_for_work("out");
  ranks[1].signal(SIGSTOP);
  EXPECT_EQ(ranks[2].wait().exit_code, 0);
  ranks[1].signal(SIGKILL);  // before rank 0 merges its record, or while it waits to
  EXPECT_EQ(ranks[0].wait().exit_code, 0);
  expect_whole("out");
}

TEST_F(ManyProcesses, WithoutRankZeroTheOthersEndAndResumeGoesOn) {
  std::mt19937 random(8);
  for (int round = 0; round < 3; ++round) {
    const std::string out = "out" + std::to_string(round);
    auto ranks = start_ranks(3, out, {"--lease", "2"});
    wait_for_work(out, 1 + random() % 4);
    // Killed, or frozen as a machine that is gone: it does not even refuse a connection.
    ranks[0].signal(round == 0 ? SIGSTOP : SIGKILL);
    for (size_t rank = 1; rank < 3; ++rank) {
      const ProcessResult result = ranks[rank].wait();
      EXPECT_EQ(result.exit_code, 1) << result.err;
      EXPECT_NE(result.err.find("rank 0 cannot be reached any more"), std::string::npos) << result.err;
    }
    ranks[0].signal(SIGKILL);
    EXPECT_EQ(ranks[0].wait().exit_code, 128 + SIGKILL);
    if (round == 1) {
      auto again = start_ranks(2, out, {"--resume"});
      for (Process& rank : again) EXPECT_EQ(rank.wait().exit_code, 0);
    } else {
      const ProcessResult resumed = Process(arguments(out, {"--resume"})).wait();
      EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
      EXPECT_NE(resumed.err.find("merged the records of"), std::string::npos) << resumed.err;
    }
    expect_whole(out);
  }
}

TEST_F(ManyProcesses, WorkersShareAMachineAndADeadOnesJobsAreDone) {
  Process batch(arguments("out", {"--workers", "3"}));
  wait_for_work("out");
  const std::vector<pid_t> workers = children(batch.id());
  ASSERT_EQ(workers.size(), 3u);
  kill(workers[1], SIGKILL);
  const ProcessResult result = batch.wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("worker 1 was ended by signal 9; its jobs go to the others"), std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("tessera: 14 rendered, 0 done already, 0 failed"), std::string::npos) << result.err;
  expect_whole("out");
  const ProcessResult again = Process(arguments("out", {"--workers", "2", "--resume"})).wait();
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(notes_of(again.err), "tessera: 14 jobs are done already\ntessera: 0 rendered, 14 done already, 0 failed\n");
}

/// Bytes that a process has read by calls, so without mapped files.
int64_t bytes_read(pid_t process) {
  std::string name;
  int64_t bytes = 0;
  std::istringstream(test::read_text("/proc/" + std::to_string(process) + "/io")) >> name >> bytes;
  return name == "rchar:" ? bytes : -1;
}

TEST_F(ManyProcesses, OnlyTheProcessThatStartsWorkersReadsTheWholeModel) {
  constexpr int64_t kBytes = 64 << 20;
  const fs::path model = folder / "model";
  fs::copy(test::fixture_folder() / "wan_pipeline" / "pipeline", model, fs::copy_options::recursive);
  std::ofstream(model / "notes") << "hashed, and of no other use";
  fs::resize_file(model / "notes", kBytes);
  Process batch(arguments("out", {"--workers", "2", "--steps", "1000", "--model", model}));
  const auto recorded = [&](int worker) {
    return !test::read_text(folder / "out" / ("manifest.rank" + std::to_string(worker) + ".jsonl")).empty();
  };
  ASSERT_TRUE(test::wait_until([&] { return recorded(0) && recorded(1); }));
  EXPECT_GT(bytes_read(batch.id()), kBytes);
  const std::vector<pid_t> workers = children(batch.id());
  ASSERT_EQ(workers.size(), 2u);
  for (const pid_t worker : workers) {
    EXPECT_GT(bytes_read(worker), 0);
    EXPECT_LT(bytes_read(worker), kBytes);
  }
  batch.signal(SIGTERM);
  EXPECT_EQ(batch.wait().exit_code, 128 + SIGTERM);
}

TEST_F(ManyProcesses, WithoutWorkersABatchFailsAndResumes) {
  Process batch(arguments("out", {"--workers", "2"}));
  wait_for_work("out");
  for (const pid_t worker : children(batch.id())) kill(worker, SIGKILL);
  const ProcessResult result = batch.wait();
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.err.find("all 2 workers ended before the work was done"), std::string::npos) << result.err;
  EXPECT_GE(manifest("out").size(), 1u) << "what they recorded is merged all the same";
  EXPECT_EQ(Process(arguments("out", {"--resume"})).wait().exit_code, 0);
  expect_whole("out");
}

TEST_F(ManyProcesses, SignalsReachTheWorkers) {
  for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
    const std::string out = "out" + std::to_string(signal);
    Process batch(arguments(out, {"--workers", "2", "--steps", "1000"}));
    wait_for_work(out);
    const std::vector<pid_t> workers = children(batch.id());
    batch.signal(signal);
    const ProcessResult result = batch.wait();
    EXPECT_EQ(result.exit_code, 128 + signal);
    if (signal != SIGKILL) {
      EXPECT_NE(result.err.find("of 14 outputs are done; continue with --resume"), std::string::npos) << result.err;
    }
    for (const pid_t worker : workers) {
      const std::string state = "/proc/" + std::to_string(worker) + "/cmdline";
      EXPECT_TRUE(test::wait_until([&] { return test::read_text(state).empty(); })) << "a worker outlives the batch";
    }
    for (const std::string& name : test::listing(folder / out)) EXPECT_EQ(name.find(".part"), std::string::npos);
  }
}

TEST_F(ManyProcesses, ARankWithAnotherPlanIsRefused) {
  std::ofstream(folder / "other.json") << prompts(" and a moon");
  Process host(arguments("out", {"--lease", "2"}), environment(0, 2));
  Process outsider(arguments("out", {"--lease", "2"}, "other.json"), environment(1, 2));
  const ProcessResult refused = outsider.wait();
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("rank 1 does not belong to the run"), std::string::npos) << refused.err;
  EXPECT_EQ(host.wait().exit_code, 0);
  expect_whole("out");
}

TEST_F(ManyProcesses, WhatRanksLeftIsNeitherLostNorOverwrittenUnasked) {
  ASSERT_EQ(Process(arguments("out")).wait().exit_code, 0);
  std::istringstream lines(test::read_text(folder / "out" / "manifest.jsonl"));
  fs::remove(folder / "out" / "manifest.jsonl");
  int at = 0;
  for (std::string line; std::getline(lines, line); ++at)
    std::ofstream(folder / "out" / ("manifest.rank" + std::to_string(at % 3) + ".jsonl"), std::ios::app)
        << line << "\n";
  std::ofstream(folder / "out" / "manifest.rank1.jsonl", std::ios::app) << "{\"id\": \"job3\", \"sta";
  const ProcessResult refused = Process(arguments("out")).wait();
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("holds an earlier batch (manifest.rank0.jsonl)"), std::string::npos) << refused.err;
  const ProcessResult resumed = Process(arguments("out", {"--resume"})).wait();
  EXPECT_EQ(resumed.exit_code, 0);
  EXPECT_NE(resumed.err.find("0 rendered, 14 done already"), std::string::npos) << resumed.err;
  expect_whole("out");
}

TEST_F(ManyProcesses, FailuresOfAllRanksAreSummedUpByRankZero) {
  for (const std::string name : {"job4.png", "job6.mp4"}) fs::create_directories(folder / "out" / name);
  auto ranks = start_ranks(2, "out", {"--overwrite"});
  const ProcessResult first = ranks[0].wait(), second = ranks[1].wait();
  EXPECT_EQ(first.exit_code, 3) << first.err;
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_NE(first.err.find("12 rendered, 0 done already, 2 failed"), std::string::npos) << first.err;
  const std::string both = first.err + second.err;
  EXPECT_NE(both.find("job4 failed: "), std::string::npos) << both;
  EXPECT_NE(both.find("job6 failed: "), std::string::npos) << both;
  auto stopped = start_ranks(2, "out", {"--overwrite", "--max-failures", "1"});
  for (Process& rank : stopped) {
    const ProcessResult result = rank.wait();
    EXPECT_EQ(result.exit_code, 3) << result.err;
    EXPECT_NE(result.err.find("stopped after 1 failed jobs"), std::string::npos) << result.err;
  }
  EXPECT_LT(manifest("out").size(), static_cast<size_t>(kJobs));
}

TEST_F(ManyProcesses, ARankThatComesLateLearnsHowTheRunEnded) {
  const auto late = [&](const std::vector<std::string>& more, const std::function<bool()>& ended) {
    Process host(arguments("out", more), environment(0, 2));
    EXPECT_TRUE(test::wait_until(ended));
    const ProcessResult result = Process(arguments("out", more), environment(1, 2)).wait();
    EXPECT_EQ(host.wait().exit_code, result.exit_code);
    return result;
  };
  fs::create_directories(folder / "out" / "job0.mp4");
  const ProcessResult stopped = late({"--overwrite", "--max-failures", "1"}, [&] {
    return test::read_text(folder / "out" / "manifest.rank0.jsonl").find("\"failed\"") != std::string::npos;
  });
  EXPECT_EQ(stopped.exit_code, 3);
  EXPECT_NE(stopped.err.find("rank 0 stopped: stopped after 1 failed jobs"), std::string::npos) << stopped.err;
  fs::remove(folder / "out" / "job0.mp4");
  const auto all_there = [&] {
    return std::all_of(want().begin(), want().end(),
                       [&](const auto& file) { return fs::exists(folder / "out" / file.first); });
  };
  EXPECT_EQ(late({"--resume"}, all_there).exit_code, 0);
  EXPECT_EQ(outputs("out"), want());
  const ProcessResult done = late({"--resume"}, [&] { return fs::exists(folder / "out" / ".tessera.run"); });
  EXPECT_EQ(done.exit_code, 0) << done.err;
}

TEST_F(ManyProcesses, ShardsNeedNothingButTheFolder) {
  {
    Process first(arguments("out", {"--shard", "0/3"})), second = Process(arguments("out", {"--shard", "1/3"}));
    EXPECT_EQ(first.wait().exit_code, 0);
    EXPECT_EQ(second.wait().exit_code, 0);
  }
  EXPECT_EQ(manifest("out").size(), 10u);  // 5 + 5, merged by the last to end
  const ProcessResult twice = Process(arguments("out", {"--shard", "1/3"})).wait();
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_NE(twice.err.find("exists already"), std::string::npos) << twice.err;
  std::vector<std::string> array = {"SLURM_ARRAY_TASK_ID=6", "SLURM_ARRAY_TASK_COUNT=3", "SLURM_ARRAY_TASK_MIN=2",
                                    "SLURM_ARRAY_TASK_MAX=6"};
  const ProcessResult third = Process(arguments("out", {"--shard", "array"}), array).wait();
  EXPECT_EQ(third.exit_code, 0) << third.err;
  EXPECT_NE(third.err.find("4 rendered, 0 done already"), std::string::npos) << third.err;
  expect_whole("out");
  const ProcessResult resumed = Process(arguments("out", {"--shard", "1/2", "--resume"})).wait();
  EXPECT_NE(resumed.err.find("0 rendered, 7 done already"), std::string::npos) << resumed.err;
  expect_whole("out");
}

TEST_F(ManyProcesses, EnvironmentsThatCannotBeAreRefused) {
  const auto refusal = [&](const std::vector<std::string>& environment, const std::vector<std::string>& more = {}) {
    const ProcessResult result = Process(arguments("out", more), environment).wait();
    EXPECT_EQ(result.exit_code, 2);
    return result.err;
  };
  EXPECT_NE(refusal({"RANK=1"}).find("RANK is set and WORLD_SIZE is not"), std::string::npos);
  EXPECT_NE(refusal(environment(0, 2), {"--workers", "2"}).find("choose one of the two"), std::string::npos);
  EXPECT_NE(refusal({}, {"--workers", "2", "--shard", "0/2"}).find("--shard is for"), std::string::npos);
  EXPECT_NE(refusal({}, {"--shard", "2/2"}).find("--shard is \"2/2\""), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(ManyProcesses, ThreadsDoNotChangeBytes) {
  std::ofstream(folder / "stars.json") << R"(["a red star moving left"])";
  const auto render = [&](const std::string& threads, const std::string& dtype) {
    const std::string out = dtype + threads;
    const std::vector<std::string> command = {
        TESSERA_BINARY, "batch", folder / "stars.json", "-o", folder / out, "--quiet", "--no-gallery", "--steps", "2",
        "--dtype",      dtype};
    EXPECT_EQ(Process(command, {"OMP_NUM_THREADS=" + threads}).wait().exit_code, 0);
    return test::read_text(folder / out / "000000.mp4");
  };
  for (const std::string dtype : {"fp32", "bf16"}) {
    const std::string one = render("1", dtype);
    EXPECT_GT(one.size(), 1000u);
    EXPECT_EQ(render("2", dtype), one) << dtype;
  }
}

}  // namespace
}  // namespace tessera
