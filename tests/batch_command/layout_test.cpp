#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "media/picture.h"
#include "media/video_reader.h"
#include "tests/support/batch.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::ProcessResult;

/// The names in a folder, as Python's os.listdir has them.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// GenEval's evaluate_images.py: folders of digits, their whole metadata.jsonl as JSON, the pictures NUMBER.png.
std::map<std::string, std::vector<std::string>> as_geneval_reads(const fs::path& folder) {
  static const std::regex digits("[0-9]+"), picture("[0-9]+\\.png");
  std::map<std::string, std::vector<std::string>> found;  // "tag: prompt" -> pictures
  for (const std::string& name : names_in(folder)) {
    if (!fs::is_directory(folder / name) || !std::regex_match(name, digits)) continue;
    const json row = json::parse(test::read_text(folder / name / "metadata.jsonl"));
    auto& pictures = found[row.at("tag").get<std::string>() + ": " + row.at("prompt").get<std::string>()];
    for (const json& wanted : row.at("include")) EXPECT_TRUE(wanted.at("count").is_number_integer());
    for (const std::string& file : names_in(folder / name / "samples"))
      if (std::regex_match(file, picture)) {
        read_picture(folder / name / "samples" / file);
        pictures.push_back(name + "/" + file);
      }
  }
  return found;
}

/// VBench's build_full_info_json: the extension of whatever comes first in the folder, then PROMPT-0 to PROMPT-4.
std::map<std::string, int> as_vbench_reads(const fs::path& folder, const std::vector<std::string>& prompts) {
  const std::vector<std::string> names = names_in(folder);
  for (const std::string& any : names)
    EXPECT_EQ(fs::path(any).extension(), fs::path(names.front()).extension()) << "the order of a folder means nothing";
  std::map<std::string, int> found;
  for (const std::string& prompt : prompts) {
    found[prompt] = 0;
    for (int i = 0; i < 5; ++i) {
      const std::string file = prompt + "-" + std::to_string(i) + fs::path(names.front()).extension().string();
      if (std::count(names.begin(), names.end(), file) > 0) ++found[prompt];
    }
  }
  return found;
}

/// T2I-CompBench's evaluators: all files, sorted by the number behind the last "_", the prompt before the first "_".
std::vector<std::string> as_t2i_compbench_reads(const fs::path& folder) {
  std::map<int, std::string> prompts;
  for (const std::string& name : names_in(folder / "samples")) {
    const std::string behind = name.substr(name.rfind('_') + 1);
    EXPECT_TRUE(
        prompts.try_emplace(std::stoi(behind.substr(0, behind.find('.'))), name.substr(0, name.find('_'))).second);
    read_picture(folder / "samples" / name);
  }
  std::vector<std::string> in_order;
  for (const auto& [number, prompt] : prompts) {
    EXPECT_EQ(number, static_cast<int>(in_order.size()));
    in_order.push_back(prompt);
  }
  return in_order;
}

/// DPG-Bench's compute_dpg_bench.py: every file is a tile; its name up to the first dot is the prompt's, and the
/// samples are cut out of it row by row.
std::map<std::string, std::vector<at::Tensor>> as_dpg_bench_reads(const fs::path& folder, int64_t resolution) {
  std::map<std::string, std::vector<at::Tensor>> found;
  for (const std::string& name : names_in(folder)) {
    const at::Tensor tile = read_picture(folder / name);
    for (const int64_t y : {int64_t{0}, resolution})
      for (const int64_t x : {int64_t{0}, resolution})
        found[name.substr(0, name.find('.'))].push_back(tile.narrow(0, y, resolution).narrow(1, x, resolution));
  }
  return found;
}

class Layouts : public test::BatchTest {
 protected:
  ProcessResult run_layout(const std::string& layout, const std::string& prompts,
                           const std::vector<std::string>& more = {}, const std::string& out = "out") {
    std::vector<std::string> all = {"--layout", layout, "--steps", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return run(prompts, all, out);
  }

  /// Kills the run at many moments, resumes it, and returns what is there in the end.
  std::map<std::string, std::string> outputs_after_kills(const std::string& layout, const std::string& prompts,
                                                         const std::vector<std::string>& more) {
    std::vector<std::string> all = {"--layout", layout, "--steps", "1", "--resume"};
    all.insert(all.end(), more.begin(), more.end());
    const auto recorded = [&] {
      const std::string text = test::read_text(folder / "killed" / "manifest.jsonl");
      return std::count(text.begin(), text.end(), '\n');
    };
    for (int kills = 0; kills < 4; ++kills) {
      const auto before = recorded();
      test::Process process(test::batch_arguments(write(prompts), folder / "killed", all));
      test::wait_until([&] { return process.has_ended() || recorded() > before; });
      process.signal(SIGKILL);
      process.wait();
    }
    const ProcessResult last = run(prompts, all, "killed");
    EXPECT_EQ(last.exit_code, 0) << last.err;
    return outputs("killed");
  }

  static std::string geneval_rows() {
    std::string rows;
    for (const char* prompt : {"a star", "a heart/moon", "a star"})
      rows +=
          json{{"tag", "single_object"}, {"include", {{{"class", "star"}, {"count", 1}}}}, {"prompt", prompt}}.dump() +
          "\n";
    return rows;
  }

  static std::string dpg_prompts() {
    json prompts = json::array();
    for (int i = 0; i < 3; ++i)
      prompts.push_back({{"id", "p" + std::to_string(i)}, {"prompt", "star " + std::to_string(i)}, {"seed", 10 * i}});
    return prompts.dump();
  }
};

TEST_F(Layouts, GenEvalReadsWhatIsWritten) {
  const ProcessResult result = run_layout("geneval", geneval_rows());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto found = as_geneval_reads(folder / "out");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found.at("single_object: a heart/moon"),
            (std::vector<std::string>{"00001/0000.png", "00001/0001.png", "00001/0002.png", "00001/0003.png"}));
  EXPECT_EQ(found.at("single_object: a star").size(), 8u);  // two rows with one prompt
  // What is lost or altered comes back, and nothing is rendered for the row's own file.
  const auto want = outputs("out");
  fs::remove(folder / "out" / "00001" / "metadata.jsonl");
  std::ofstream(folder / "out" / "00002" / "metadata.jsonl", std::ios::app) << "x";
  const ProcessResult again = run_layout("geneval", geneval_rows(), {"--resume"});
  EXPECT_NE(again.err.find("0 rendered, 12 done already, 0 failed"), std::string::npos) << again.err;
  EXPECT_EQ(outputs("out"), want);
  EXPECT_EQ(outputs_after_kills("geneval", geneval_rows(), {}), want);
}

TEST_F(Layouts, VBenchReadsWhatIsWritten) {
  const std::string slow = "a cat: \"walks\", 50% slower?";
  const json prompts = {slow, "A fantasy landscape", "a fantasy landscape", slow, std::string(246, 'x') + "..."};
  const ProcessResult result = run_layout("vbench", prompts.dump(), {"--frames", "5"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto found = as_vbench_reads(folder / "out" / "videos", prompts);
  ASSERT_EQ(found.size(), 4u);
  for (const auto& [prompt, count] : found) EXPECT_EQ(count, 5) << prompt;
  EXPECT_EQ(names_in(folder / "out" / "videos").size(), 20u);
  EXPECT_EQ(read_video(folder / "out" / "videos" / (slow + "-4.mp4")).frames.size(0), 5);
  EXPECT_NE(result.err.find("20 rendered"), std::string::npos) << result.err;
  EXPECT_EQ(outputs_after_kills("vbench", prompts.dump(), {"--frames", "5"}), outputs("out"));
}

TEST_F(Layouts, T2iCompBenchReadsWhatIsWrittenWhoeverRendersIt) {
  const std::string prompts = R"(["a red bench and a blue bowl.", "it reads 11:44", "a red bench and a blue bowl."])";
  const ProcessResult result = run_layout("t2i-compbench", prompts, {"--count", "3"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto found = as_t2i_compbench_reads(folder / "out");
  ASSERT_EQ(found.size(), 9u);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(found[i], i / 3 == 1 ? "it reads 11:44" : "a red bench and a blue bowl.");
  // One number, whoever renders it: processes that share the work, and parts that know nothing of each other.
  ASSERT_EQ(run_layout("t2i-compbench", prompts, {"--count", "3", "--workers", "2"}, "two").exit_code, 0);
  EXPECT_EQ(outputs("two"), outputs("out"));
  for (const char* shard : {"1/2", "0/2"})
    ASSERT_EQ(run_layout("t2i-compbench", prompts, {"--count", "3", "--shard", shard}, "parts").exit_code, 0);
  EXPECT_EQ(outputs("parts"), outputs("out"));
}

TEST_F(Layouts, DpgBenchReadsWhatIsWritten) {
  const ProcessResult result = run_layout("dpg", dpg_prompts(), {"--batch-size", "3"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(run_layout("flat", dpg_prompts(), {"--count", "4", "--frames", "1"}, "flat").exit_code, 0);
  const auto found = as_dpg_bench_reads(folder / "out" / "images", 32);
  ASSERT_EQ(found.size(), 3u);
  for (const auto& [id, samples] : found)
    for (size_t i = 0; i < 4; ++i) {
      const at::Tensor alone = read_picture(folder / "flat" / (id + "_" + std::to_string(i) + ".png"));
      EXPECT_TRUE(samples[i].equal(alone)) << id << " " << i;
    }
  const auto entries = manifest();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[1]["id"], "p1");
  EXPECT_EQ(entries[1]["samples"], 4);
  EXPECT_EQ(entries[1]["recipe"]["seed"], 10);
}

TEST_F(Layouts, ATileIsResumedAndSharedAsAWhole) {
  ASSERT_EQ(run_layout("dpg", dpg_prompts()).exit_code, 0);
  const auto want = outputs("out");
  EXPECT_EQ(outputs_after_kills("dpg", dpg_prompts(), {}), want);
  ASSERT_EQ(run_layout("dpg", dpg_prompts(), {"--workers", "2"}, "two").exit_code, 0);
  EXPECT_EQ(outputs("two"), want);
  std::ofstream(folder / "out" / "images" / "p1.png", std::ios::app) << "x";
  const ProcessResult again = run_layout("dpg", dpg_prompts(), {"--resume"});
  EXPECT_NE(again.err.find("1 rendered, 2 done already"), std::string::npos) << again.err;
  EXPECT_EQ(outputs("out"), want);
  // A tile that nobody asks for any more would be scored with the others.
  const ProcessResult fewer = run_layout(
      "dpg", R"([{"id": "p0", "prompt": "star 0", "seed": 0}, {"id": "p1", "prompt": "star 1", "seed": 10}])",
      {"--resume"});
  EXPECT_EQ(fewer.exit_code, 2);
  EXPECT_NE(fewer.err.find("images/p2.png is no output of this run, and DPG-Bench would score what lies there"),
            std::string::npos)
      << fewer.err;
  EXPECT_EQ(outputs("out"), want);
  // Another number of samples is another tile.
  const ProcessResult two = run_layout("dpg", dpg_prompts(), {"--resume", "--count", "2"});
  EXPECT_NE(two.err.find("3 rendered, 0 done already"), std::string::npos) << two.err;
  const at::Tensor row = read_picture(folder / "out" / "images" / "p0.png");
  EXPECT_EQ(row.sizes(), (at::IntArrayRef{32, 64, 3}));
}

TEST_F(Layouts, APlaceWithoutASampleIsBlack) {
  ASSERT_EQ(run_layout("dpg", dpg_prompts(), {"--count", "3"}).exit_code, 0);
  const auto found = as_dpg_bench_reads(folder / "out" / "images", 32);
  EXPECT_GT(found.at("p0")[2].max().item<int64_t>(), 0);
  EXPECT_EQ(found.at("p0")[3].max().item<int64_t>(), 0);
}

TEST_F(Layouts, TheDryRunShowsTheNamesAndWritesNothing) {
  const ProcessResult result = run_layout("dpg", dpg_prompts(), {"--dry-run"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("images/p1.png  32x32, 1 frame, 1 step, seeds 10, 11, 12, 13"), std::string::npos)
      << result.out;
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(Layouts, WhatAnEvaluatorCannotReadIsRefusedBeforeAnythingIsRendered) {
  for (const auto& [layout, prompts, message] : std::vector<std::array<std::string, 3>>{
           {"vbench", "[\"x\",\n\"day/night\"]", "line 2: VBench reads the prompt from the file's name"},
           {"vbench", "[\"" + std::string(250, 'x') + "\"]", "line 1: the file's name would have 256 bytes"},
           {"geneval", R"(["x"])", "line 1: GenEval's evaluator wants \"tag\""},
           {"dpg", R"([{"prompt": "x", "size": "32x64"}])", "line 1: DPG-Bench cuts squares out of the tile"},
           {"nonsense", R"(["x"])", "--layout: unknown value \"nonsense\""}}) {
    const ProcessResult result = run_layout(layout, prompts);
    EXPECT_EQ(result.exit_code, 2) << layout;
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(folder / "out"));
  }
}

TEST_F(Layouts, ATileSaysThatItsRecipeIsThatOfItsFirstPicture) {
  ASSERT_EQ(run_layout("dpg", dpg_prompts()).exit_code, 0);
  const ProcessResult again =
      test::tessera({"generate", "--from-file", folder / "out" / "images" / "p2.png", "-o", folder / "again.png"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_NE(again.err.find("holds several pictures side by side"), std::string::npos) << again.err;
  const auto found = as_dpg_bench_reads(folder / "out" / "images", 32);
  EXPECT_TRUE(found.at("p2")[0].equal(read_picture(folder / "again.png")));
}

}  // namespace
}  // namespace tessera
