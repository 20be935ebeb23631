#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/batch.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::ProcessResult;

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

size_t times(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// Files as people have them, in tests/data/prompts, through the built program.
class PromptForms : public test::BatchTest {
 protected:
  static fs::path data(const std::string& name) { return fs::path(TESSERA_SOURCE_DIR) / "tests/data/prompts" / name; }

  ProcessResult batch(const fs::path& prompts, std::vector<std::string> more = {}, const std::string& out = "out") {
    more.insert(more.begin(), {"--steps", "1"});
    return test::Process(test::batch_arguments(prompts, folder / out, more)).wait();
  }

  /// Renders a file as pictures; the manifest's lines by id.
  std::map<std::string, json> rendered(const std::string& name, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--frames", "1"});
    const ProcessResult result = batch(data(name), more, name);
    EXPECT_EQ(result.exit_code, 0) << name << result.err;
    std::map<std::string, json> lines;
    if (result.exit_code != 0) return lines;
    for (const json& line : manifest(name)) lines[line["id"]] = line;
    return lines;
  }

  /// What a file that must be refused is told; nothing may be made.
  std::string refused(const std::string& name, const std::vector<std::string>& more = {}) {
    const ProcessResult result = batch(data(name), more, "refused");
    EXPECT_EQ(result.exit_code, 2) << name << result.err;
    EXPECT_FALSE(fs::exists(folder / "refused")) << name;
    return result.err;
  }
};

TEST_F(PromptForms, BenchmarksKeepTheirColumnsInTheManifest) {
  auto geneval = rendered("geneval.jsonl");
  ASSERT_EQ(geneval.size(), 2u);
  EXPECT_EQ(geneval["000001"]["recipe"]["prompt"], "three moons on a dark sky");
  EXPECT_EQ(geneval["000001"]["metadata"],
            json::parse(R"({"tag": "counting", "include": [{"class": "moon", "count": 3}],
                            "exclude": [{"class": "moon", "count": 4}]})"));
  auto movie = rendered("moviegen.csv");
  ASSERT_EQ(movie.size(), 2u);
  EXPECT_EQ(movie["000001"]["recipe"]["prompt"], "An arrow spins, then \"stops\".");
  EXPECT_EQ(movie["000001"]["metadata"], json::parse(R"({"concept": "objects", "motion_level": "high"})"));
  auto parti = rendered("parti.tsv");
  ASSERT_EQ(parti.size(), 2u);
  EXPECT_EQ(parti["000000"]["metadata"]["Note"], "a \"quoted\" note");
  EXPECT_EQ(parti["000001"]["recipe"]["prompt"], "two arrows, one green");
  auto dpg = rendered("dpg_bench");
  ASSERT_EQ(dpg.size(), 2u);
  EXPECT_EQ(dpg["7"]["recipe"]["prompt"], "A green umbrella lies open on black ground.");
  EXPECT_EQ(dpg["12"]["output"], "12.png");
}

TEST_F(PromptForms, TheKeyOfThePromptIsAskedFor) {
  EXPECT_TRUE(holds(refused("sora.jsonl"), "the nearest is \"video_prompt\": pass --prompt-key video_prompt"));
  auto sora = rendered("sora.jsonl", {"--prompt-key", "video_prompt"});
  EXPECT_EQ(sora["0"]["recipe"]["prompt"], "A door closes.");
  EXPECT_EQ(sora["0"]["metadata"], json::parse(R"({"audio_prompt": "a soft thud"})"));
}

TEST_F(PromptForms, FormsAreRecognizedByWhatTheyHold) {
  auto cr = rendered("cr_only.txt");
  ASSERT_EQ(cr.size(), 2u);
  EXPECT_EQ(cr["000001"]["recipe"]["prompt"], "a blue star");
  auto csv = rendered("seeds.csv");
  ASSERT_EQ(csv.size(), 2u);
  EXPECT_EQ(csv["000000"]["recipe"]["prompt"], "a red heart, big");
  EXPECT_EQ(csv["000001"]["recipe"]["seed"], 8);
  EXPECT_EQ(rendered("json_in.txt")["000000"]["recipe"]["seed"], 1);
  auto script = rendered("a1111_script.txt");
  EXPECT_EQ(script["000000"]["recipe"]["negative_prompt"], "trees, shrubs");
  EXPECT_EQ(script["000001"]["recipe"]["steps"], 2);
}

TEST_F(PromptForms, StandardInputIsRead) {
  std::vector<std::string> arguments = {"/bin/sh", "-c", "exec \"$0\" \"$@\" < '" + data("seeds.csv").string() + "'"};
  const auto batch = test::batch_arguments("-", folder / "out", {"--steps", "1", "--frames", "1"});
  arguments.insert(arguments.end(), batch.begin(), batch.end());
  const ProcessResult result = test::Process(arguments).wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(manifest().size(), 2u);
  arguments.insert(arguments.end(), {"--workers", "2", "--resume"});
  const ProcessResult several = test::Process(arguments).wait();
  EXPECT_EQ(several.exit_code, 2);
  EXPECT_TRUE(holds(several.err, "cannot share standard input")) << several.err;
}

TEST_F(PromptForms, APercentSignIsAnOrdinaryCharacter) {
  auto lines = rendered("percent_ids.json");
  EXPECT_EQ(lines["50% off sign"]["output"], "50% off sign.png");
  const fs::path out = folder / "percent_ids.json";
  EXPECT_TRUE(fs::exists(out / "50% off sign.png"));
  const ProcessResult again = batch(data("percent_ids.json"), {"--frames", "1", "--resume"}, "percent_ids.json");
  EXPECT_TRUE(holds(again.err, "0 rendered, 2 done already")) << again.err;
  const ProcessResult page = test::tessera({"gallery", out});
  EXPECT_EQ(page.exit_code, 0) << page.err;
  const std::string html = test::read_text(out / "index.html");
  EXPECT_TRUE(holds(html, "\"file\":\"50% off sign.png\",\"kind\":\"image\""))
      << html.substr(html.find("\"jobs\""), 800);
  EXPECT_TRUE(holds(html, "'50%% off sign.png'"));
  // As frames, and under names that would be patterns.
  std::ofstream(folder / "p.json") << R"({"a%": "x", "b_%04d": "y", "c%d": "z"})";
  EXPECT_EQ(batch(folder / "p.json", {"--frames", "5", "--format", "frames"}, "frames").exit_code, 0);
  EXPECT_TRUE(fs::exists(folder / "frames" / "a%" / "0004.png"));
  EXPECT_TRUE(fs::exists(folder / "frames" / "b_%04d" / "0004.png"));
  EXPECT_EQ(batch(folder / "p.json", {"--frames", "1"}, "pictures").exit_code, 0);
  EXPECT_TRUE(fs::exists(folder / "pictures" / "b_%04d.png"));
  EXPECT_EQ(test::tessera({"gallery", folder / "pictures"}).exit_code, 0);
}

TEST_F(PromptForms, EveryMistakeInOneRound) {
  const std::string said = refused("mistakes.json");
  for (const char* part : {"4 mistakes", "line 1: unknown key \"stepz\"", "line 2: the prompt is empty",
                           "line 3: size 100x100 does not fit", "line 4: "})
    EXPECT_TRUE(holds(said, part)) << part << said;
  EXPECT_FALSE(holds(said, "line 5")) << said;
  // Several in one entry, and what only the model knows beside a key that is unknown.
  std::ofstream(folder / "p.json")
      << "[{\"prompt\": \"a\", \"size\": \"100x90\", \"sampler\": \"ddim\", \"stepz\": 1,\n"
         "  \"output\": \"x.tiff\"}, {\"id\": \"../b\", \"prompt\": \"\"}]";
  const ProcessResult several = batch(folder / "p.json");
  EXPECT_EQ(several.exit_code, 2);
  for (const char* part : {"6 mistakes", "unknown key \"stepz\"", "size 100x90 does not fit", "ddim", "x.tiff",
                           "line 2: the id \"../b\" climbs out", "line 2: the prompt is empty"})
    EXPECT_TRUE(holds(several.err, part)) << part << several.err;
  // And what is wrong with the model itself.
  const ProcessResult model = batch(folder / "p.json", {"--model", folder / "none"});
  EXPECT_TRUE(holds(model.err, "stepz") && holds(model.err, "none")) << model.err;
}

TEST_F(PromptForms, BrokenJsonIsExplained) {
  EXPECT_TRUE(holds(refused("trailing_comma.json"), "line 1: not valid JSON at column 9: remove the trailing comma"));
  EXPECT_TRUE(holds(refused("overflow.json"), "not valid JSON at column 28: 1e999 is too large"));
  const std::string floats = refused("whole_floats.json");
  EXPECT_TRUE(holds(floats, "1 mistake; nothing was rendered\n  line 1: \"seed\" wants a whole number")) << floats;
  EXPECT_TRUE(holds(floats, "got \"1.5\"")) << floats;
}

TEST_F(PromptForms, WhatCannotBeWrittenIsRefusedByTheDryRun) {
  EXPECT_TRUE(holds(refused("file_and_folder.json", {"--dry-run", "--frames", "1"}), "w.png/r.png lies in a folder"));
  EXPECT_TRUE(holds(refused("gif_120fps.json", {"--dry-run", "--format", "gif"}), "cannot hold 120 frames per second"));
  const ProcessResult fast = batch(data("gif_120fps.json"), {"--format", "webp"});
  EXPECT_EQ(fast.exit_code, 0) << fast.err;
  EXPECT_EQ(times(fast.err, "much slower"), 1u) << fast.err;
}

TEST_F(PromptForms, SyntaxOfOtherProgramsIsSaidToBeText) {
  const ProcessResult result = batch(data("literal_syntax.txt"), {"--frames", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* what : {"<lora:...>", "(word:1.2)", "__name__", "AND and BREAK"})
    EXPECT_EQ(times(result.err, what), 1u) << what << result.err;
}

TEST_F(PromptForms, NoControlCharacterReachesATerminal) {
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--dry-run"}, {"--json"}, {}}) {
    std::vector<std::string> arguments = {"--frames", "1", "--overwrite"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = batch(data("escape_codes.json"), arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    for (const char c : result.out + result.err) EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20);
  }
  std::ofstream(folder / "p.json")
      << R"([{"prompt": "a", "st\u001b[2Jepz": 1, "id": "\u001b/../x", "size": "\u009b1x"}])";
  const ProcessResult refused = batch(folder / "p.json");
  EXPECT_EQ(refused.exit_code, 2);
  for (const char c : refused.err) EXPECT_TRUE(c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != '\x7f'));
  EXPECT_FALSE(holds(refused.err, "\xC2\x9B")) << refused.err;
}

}  // namespace
}  // namespace tessera
