#include "batch/layout.h"

#include "tests/batch/prompt_files.h"

namespace tessera {
namespace {

class Layouts : public test::PromptFiles {
 protected:
  /// The jobs of a prompt file as a layout has them.
  std::vector<PromptJob> arranged(const std::string& layout, const std::string& text, int64_t count,
                                  const std::string& format = "") {
    PromptFile file{.name = "p.json",
                    .jobs = read("p.json", text, {{"count", std::to_string(count)}}),
                    .notes = {},
                    .mistakes = {}};
    for (PromptJob& job : file.jobs) job.metadata = metadata;
    arrange_outputs(find_layout(layout), file, format);
    file.mistakes.throw_if_any(file.name);
    notes = file.notes;
    return file.jobs;
  }

  std::string refused(const std::string& layout, const std::string& text, const std::string& format = "") {
    return test::refusal_of([&] { arranged(layout, text, 1, format); });
  }

  bool noted(const std::string& text) const {
    return std::any_of(notes.begin(), notes.end(),
                       [&](const std::string& note) { return note.find(text) != std::string::npos; });
  }

  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();
};

std::vector<std::string> outputs_of(const std::vector<PromptJob>& jobs) {
  std::vector<std::string> names;
  for (const PromptJob& job : jobs) names.push_back(job.job.output);
  return names;
}

TEST_F(Layouts, FlatLeavesNamesAlone) {
  const auto jobs = arranged("flat", R"(["a cat"])", 2);
  EXPECT_EQ(outputs_of(jobs), (std::vector<std::string>{"", ""}));
  EXPECT_EQ(test::ids_of(jobs), "000000_0 000000_1");
  EXPECT_TRUE(notes.empty());
}

TEST_F(Layouts, VBenchNamesVideosAfterTheirPrompt) {
  const auto jobs = arranged("vbench", R"(["a cat: \"50% off\" <here>?", "Tokyo.-3"])", 2);
  EXPECT_EQ(outputs_of(jobs), (std::vector<std::string>{"videos/a cat: \"50%% off\" <here>?-0.mp4",
                                                        "videos/a cat: \"50%% off\" <here>?-1.mp4",
                                                        "videos/Tokyo.-3-0.mp4", "videos/Tokyo.-3-1.mp4"}));
  EXPECT_TRUE(noted("VBench's own scores take 5 samples of each prompt")) << notes.front();
  EXPECT_EQ(outputs_of(arranged("vbench", R"(["x"])", 1, "gif")), std::vector<std::string>{"videos/x-0.gif"});
}

TEST_F(Layouts, VBenchFindsTheSameFilesForEqualPrompts) {
  const auto jobs = arranged("vbench", R"(["a cat", "A cat", "a dog", "a cat"])", 5);
  ASSERT_EQ(jobs.size(), 15u);
  EXPECT_EQ(jobs[5].job.output, "videos/A cat-0.mp4");
  EXPECT_EQ(jobs[14].job.output, "videos/a dog-4.mp4");
  EXPECT_TRUE(noted("prompts that repeat an earlier one: 1;"));
  EXPECT_TRUE(noted("\"A cat\" differ from others in case alone"));
  EXPECT_TRUE(noted("5 samples of each prompt, as VBench has it"));
  // With other settings they are two things under one name.
  EXPECT_NE(refused("vbench", R"([{"prompt": "a cat", "seed": 1},
                                  {"prompt": "a cat", "seed": 2}])")
                .find("line 2: the prompt is that of line 1 with other settings"),
            std::string::npos);
  EXPECT_EQ(refused("vbench", R"([{"prompt": "a cat", "seed": 1}, {"prompt": "a cat", "seed": 1}])"), "accepted");
}

TEST_F(Layouts, VBenchRefusesWhatNoFileNameHoldsAllAtOnce) {
  const std::string fits(249, 'x'), too_long(250, 'y');  // and "-0.mp4"
  const std::string message = refused("vbench", "[\"" + fits + "\",\n\"" + too_long +
                                                    "\",\n\"day/night\",\n\"two\\nlines\",\n"
                                                    "{\"prompt\": \"still\", \"frames\": 1}, {\"prompt\": \"\"}]");
  EXPECT_NE(message.find("5 mistakes"), std::string::npos) << message;
  EXPECT_NE(message.find("line 2: the file's name would have 256 bytes"), std::string::npos) << message;
  EXPECT_NE(message.find("line 3: VBench reads the prompt from the file's name, which cannot hold a slash"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("line 4: VBench reads the prompt from the file's name, which cannot hold a control"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("line 5: VBench scores videos"), std::string::npos) << message;
}

TEST_F(Layouts, T2iCompBenchNumbersPicturesThroughTheFile) {
  const auto jobs = arranged("t2i-compbench", R"([{"prompt": "a red bench.", "seeds": [4, 9]},
                                                  {"prompt": "it reads 11:44", "count": 1},
                                                  "a red bench."])",
                             2);
  EXPECT_EQ(outputs_of(jobs),
            (std::vector<std::string>{"samples/a red bench._000000.png", "samples/a red bench._000001.png",
                                      "samples/a red bench._000002.png", "samples/a red bench._000003.png",
                                      "samples/it reads 11:44_000004.png", "samples/a red bench._000005.png",
                                      "samples/a red bench._000006.png"}));
  EXPECT_NE(refused("t2i-compbench", R"(["snake_case"])").find("up to the first \"_\""), std::string::npos);
  EXPECT_NE(refused("t2i-compbench", R"(["a/b"])").find("cannot hold a slash"), std::string::npos);
  EXPECT_EQ(refused("t2i-compbench", "[\"" + std::string(244, 'x') + "\"]"), "accepted");
  EXPECT_NE(refused("t2i-compbench", "[\"" + std::string(245, 'x') + "\"]").find("256 bytes"), std::string::npos);
}

TEST_F(Layouts, GenEvalHasAFolderAndTheRowOfEachPrompt) {
  metadata = {{"tag", "color"}, {"include", {{{"class", "café"}, {"count", 1}}}}};
  const auto jobs = arranged("geneval", R"([{"id": "x/y", "prompt": "a/b"}, "a cat"])", 2);
  EXPECT_EQ(outputs_of(jobs), (std::vector<std::string>{"00000/samples/0000.png", "00000/samples/0001.png",
                                                        "00001/samples/0000.png", "00001/samples/0001.png"}));
  EXPECT_EQ(jobs[0].side_file.name, "00000/metadata.jsonl");
  EXPECT_EQ(jobs[0].side_file.text,
            "{\"tag\":\"color\",\"include\":[{\"class\":\"caf\\u00e9\",\"count\":1}],\"prompt\":\"a/b\"}\n");
  EXPECT_EQ(jobs[1].side_file.text, jobs[0].side_file.text);
  EXPECT_EQ(jobs[3].side_file.name, "00001/metadata.jsonl");
  metadata.erase("include");
  EXPECT_NE(refused("geneval", "[\"x\",\n\"a cat\"]").find("line 2: GenEval's evaluator wants \"include\""),
            std::string::npos);
}

TEST_F(Layouts, DpgBenchHasATileOfAPrompt) {
  const auto jobs = arranged("dpg", R"([{"id": "COCOval2014", "prompt": "a/b", "seed": 7}, "a cat"])", 4);
  EXPECT_EQ(outputs_of(jobs), (std::vector<std::string>{"images/COCOval2014.png", "images/000001.png"}));
  EXPECT_EQ(test::ids_of(jobs), "COCOval2014 000001");
  ASSERT_EQ(jobs[0].tiles.size(), 3u);
  EXPECT_EQ(recipe_json(jobs[0].job)["seed"], 7);
  EXPECT_EQ(recipe_json(jobs[0].tiles[2])["seed"], 10);
  EXPECT_TRUE(noted("prompts without an id"));
  EXPECT_TRUE(arranged("dpg", R"([{"id": "a", "prompt": "x"}])", 1)[0].tiles.empty());
  EXPECT_NE(refused("dpg", R"([{"id": "a", "prompt": "x", "count": 5}])").find("at most 4 samples"), std::string::npos);
  EXPECT_NE(refused("dpg", R"([{"id": "a.b", "prompt": "x"}])").find("neither a dot nor a slash"), std::string::npos);
  EXPECT_NE(refused("dpg", R"([{"id": "a/b", "prompt": "x"}])").find("neither a dot nor a slash"), std::string::npos);
}

TEST_F(Layouts, WhatContradictsALayoutIsRefused) {
  EXPECT_NE(refused("t2i-compbench", R"([{"prompt": "x", "output": "y.png"}])").find("leave one out"),
            std::string::npos);
  EXPECT_NE(refused("t2i-compbench", R"([{"grid": {"prompt": ["x", "y"]}}])").find("a grid of prompts"),
            std::string::npos);
  EXPECT_EQ(refused("t2i-compbench", R"(["x"])", "mp4"), "--layout t2i-compbench writes png, not --format mp4");
  EXPECT_EQ(refused("vbench", R"(["x"])", "frames"), "--layout vbench writes mp4 or gif, not --format frames");
  EXPECT_EQ(test::error_of([] { find_layout("genevl"); }),
            "--layout: unknown value \"genevl\" (did you mean geneval?)");
}

}  // namespace
}  // namespace tessera
