#include <filesystem>

#include "tests/batch/prompt_files.h"

namespace tessera {
namespace {

using test::contains;
using test::ids_of;
using test::PromptFiles;

TEST_F(PromptFiles, LineEndsOfEveryKind) {
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    const auto jobs = read("p.txt", "a red heart" + end + "# no prompt" + end + "a blue star" + end);
    ASSERT_EQ(jobs.size(), 2u);
    EXPECT_EQ(jobs[0].job.prompt, "a red heart");
    EXPECT_EQ(jobs[1].job.prompt, "a blue star");
    EXPECT_EQ(jobs[1].line, 3);
    EXPECT_EQ(read("p.csv", "prompt,seed" + end + "a,1" + end + "b,2").size(), 2u);
    EXPECT_EQ(read("p.jsonl", "\"a\"" + end + "\"b\"" + end).size(), 2u);
    EXPECT_TRUE(
        contains(refusal("p.json", "[" + end + "\"a\"," + end + "]"), "line 2: not valid JSON at column 4: remove"));
  }
}

TEST_F(PromptFiles, JsonIsRecognizedInText) {
  for (const std::string name : {"p.txt", "p"}) {
    EXPECT_EQ(read(name, R"([{"prompt": "a", "seed": 1}])")[0].job.seed, 1);
    EXPECT_EQ(read(name, "\n{\"prompts\": [\"a\", \"b\"]}\n").size(), 2u);
    EXPECT_EQ(read(name, "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n").size(), 2u);
    EXPECT_TRUE(contains(refusal(name, "[\"a\",]"), "line 1: not valid JSON at column 5: remove the trailing comma"));
    EXPECT_EQ(read(name, "\"a\"\n\"b\"\n")[1].job.prompt, "b");
  }
  for (const std::string text : {"[a] cat", "{red|blue} heart", "[blue]", "(a)", "[1girl]"})
    EXPECT_EQ(read("p.txt", text + "\nx\n")[0].job.prompt, text);
  EXPECT_EQ(read("p", "prompts:\n- a\n- b\n").size(), 2u);
  EXPECT_EQ(read("p.txt", "- a\n- b\n")[0].job.prompt, "- a");
}

TEST_F(PromptFiles, ValuesOfAScriptGoUpToTheNextName) {
  const auto jobs = read("p.txt",
                         "--prompt a castle --negative_prompt trees, shrubs --steps 2\n"
                         "--prompt a dog's  bone -- or two --steps 3\n"
                         "--negative_prompt 'no --steps here' --prompt \"a cat\"\n");
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[0].job.prompt, "a castle");
  EXPECT_EQ(jobs[0].job.negative_prompt, "trees, shrubs");
  EXPECT_EQ(jobs[0].job.steps, 2);
  EXPECT_EQ(jobs[1].job.prompt, "a dog's bone -- or two");
  EXPECT_EQ(jobs[1].job.steps, 3);
  EXPECT_EQ(jobs[2].job.negative_prompt, "no --steps here");
  EXPECT_EQ(jobs[2].job.prompt, "a cat");
  EXPECT_TRUE(contains(refusal("p.txt", "--prompt a --steps --seed 3"), "got \"--steps\" without a value"));
}

TEST_F(PromptFiles, LinesOfAutomatic1111BelongToTheirPrompt) {
  const auto jobs = read("p.txt",
                         "a castle\nNegative prompt: trees,\nshrubs\n"
                         "Steps: 20, Sampler: Euler, CFG scale: 7.5, Seed: 5, Size: 64x32, Model: dreams\n"
                         "a dog\nSteps: 3, Sampler: UniPC\n\n"
                         "plain one\nplain two\n\n"
                         "a bird\nNegative prompt: cats\n");
  ASSERT_EQ(jobs.size(), 5u);
  EXPECT_EQ(jobs[0].job.prompt, "a castle");
  EXPECT_EQ(jobs[0].job.negative_prompt, "trees,\nshrubs");
  EXPECT_EQ(jobs[0].job.steps, 20);
  EXPECT_EQ(jobs[0].job.cfg_scale, 7.5);
  EXPECT_EQ(jobs[0].job.seed, 5);
  EXPECT_EQ(jobs[0].job.width, 64);
  EXPECT_EQ(jobs[1].job.prompt, "a dog");
  EXPECT_EQ(jobs[1].job.steps, 3);
  EXPECT_EQ(jobs[1].line, 5);
  EXPECT_EQ(jobs[2].job.prompt, "plain one");
  EXPECT_EQ(jobs[3].job.prompt, "plain two");
  EXPECT_EQ(jobs[4].job.prompt, "a bird");
  EXPECT_EQ(jobs[4].job.negative_prompt, "cats");
  EXPECT_TRUE(contains(refusal("p.txt", "a cat\nSteps: 20, Hires upscale: 2\n"), "\"Hires upscale: 2\""));
  EXPECT_TRUE(contains(refusal("p.txt", "Steps: 20, Sampler: Euler\n"), "line 1: settings without a prompt"));
  read("p.txt", "one\ntwo\nSteps: 20, Sampler: Euler\n");
  EXPECT_TRUE(contains(notes.back() + notes.front(), "lines 1 to 2 are one prompt"));
  EXPECT_EQ(read("p.txt", "Steps: 3 of stone, a garden\n")[0].job.prompt, "Steps: 3 of stone, a garden");
}

TEST(PromptFolders, EachTextFileIsAPrompt) {
  const test::TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::string& text) { std::ofstream(folder / name) << text; };
  write("7.txt", "A green umbrella.\n");
  write("12.TXT",
        "\xEF\xBB\xBF"
        "A blue square, --steps 3,\r\nand a circle.");
  write("readme.md", "not one");
  write(".hidden.txt", "not one");
  const PromptFile file = read_prompt_file(folder.path());
  file.mistakes.throw_if_any(file.name);
  ASSERT_EQ(ids_of(file.jobs), "12 7");
  EXPECT_EQ(file.jobs[0].job.prompt, "A blue square, --steps 3,\nand a circle.");
  EXPECT_EQ(file.jobs[1].job.prompt, "A green umbrella.");
  ASSERT_EQ(file.notes.size(), 1u);
  EXPECT_TRUE(contains(file.notes[0], "readme.md"));
  write("bad.txt", "\xFF");
  write("empty.txt", " \n");
  const auto refusal = [&] {
    return test::refusal_of([&] {
      const PromptFile bad = read_prompt_file(folder.path());
      bad.mistakes.throw_if_any(bad.name);
    });
  };
  EXPECT_TRUE(contains(refusal(), "\n  bad.txt: not UTF-8")) << refusal();
  std::filesystem::remove(folder / "bad.txt");
  EXPECT_TRUE(contains(refusal(), "\n  empty.txt: the file is empty")) << refusal();
  const test::TemporaryFolder none;
  EXPECT_TRUE(contains(test::refusal_of([&] { read_prompt_file(none.path()); }), "is a folder without .txt files"));
}

TEST_F(PromptFiles, SeedsOfSixtyFourBits) {
  const auto jobs = read("p.json", R"([{"id": "a", "prompt": "a", "seed": 18446744073709551615},
    {"id": "b", "prompt": "a", "seed": [9223372036854775808, 1.0]}, {"id": "c", "prompt": "a", "seed": 1e3}])");
  EXPECT_EQ(jobs[0].job.seed.text(), "18446744073709551615");
  EXPECT_EQ(jobs[1].job.seed.text(), "9223372036854775808");
  EXPECT_EQ(jobs[2].job.seed, 1);
  EXPECT_EQ(jobs[3].job.seed, 1000);
  EXPECT_TRUE(contains(refusal("p.json", R"([{"prompt": "a", "seed": 18446744073709551615, "count": 2}])"), "exceeds"));
  EXPECT_TRUE(contains(refusal("p.json", R"([{"prompt": "a", "seed": 1.5}])"), "wants a whole number"));
}

TEST_F(PromptFiles, NamesHoldNoControlCharacters) {
  EXPECT_EQ(read("p.json", R"({"a\u001b[31m\u009b\u202eb": "x"})")[0].id, "a_[31m__b");
  EXPECT_EQ(read("p.json", R"({"50% off": "x"})")[0].id, "50% off");
  EXPECT_EQ(refusal("p.json", R"([{"prompt": "a", "k\u001b\n": 1, "stepz\u001b": 2}])").find('\x1b'),
            std::string::npos);
}

}  // namespace
}  // namespace tessera
