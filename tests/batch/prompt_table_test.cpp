#include "tests/batch/prompt_files.h"

namespace tessera {
namespace {

using test::contains;
using test::ids_of;
using test::PromptFiles;

TEST_F(PromptFiles, TablesAreReadByTheirHeader) {
  const auto jobs = read("p.csv",
                         "\xEF\xBB\xBFprompt,seed,Negative_Prompt,level\r\n"
                         "\"a red heart, big\",7,,low\r\n"
                         "\"two\r\nlines and \"\"quotes\"\"\",8,rain,\r\n\r\n"
                         "plain\r\n");
  ASSERT_EQ(ids_of(jobs), "000000 000001 000002");
  EXPECT_EQ(jobs[0].job.prompt, "a red heart, big");
  EXPECT_EQ(jobs[0].job.seed, 7);
  EXPECT_EQ(jobs[0].job.negative_prompt, "");
  EXPECT_EQ(jobs[0].metadata.dump(), "{\"level\":\"low\"}");
  EXPECT_EQ(jobs[1].job.prompt, "two\nlines and \"quotes\"");
  EXPECT_EQ(jobs[1].job.negative_prompt, "rain");
  EXPECT_EQ(jobs[1].line, 3);
  EXPECT_EQ(jobs[2].job.prompt, "plain");
  EXPECT_EQ(jobs[2].line, 6);
  EXPECT_EQ(notes, std::vector<std::string>{"kept in the manifest as metadata: \"level\""});
}

TEST_F(PromptFiles, BenchmarksTablesAsDownloaded) {
  // PartiPrompts: quotes inside a field, one at its beginning, and a column that may be empty.
  const auto parti = read("p.tsv",
                          "Prompt\tCategory\tChallenge\tNote\n"
                          "a red heart\tArts\tBasic\ta \"quoted\" note\n"
                          "\"START\" on a wall\tArts\tBasic\t\n");
  ASSERT_EQ(parti.size(), 2u);
  EXPECT_EQ(parti[0].job.prompt, "a red heart");
  EXPECT_EQ(parti[0].metadata["Note"], "a \"quoted\" note");
  EXPECT_EQ(parti[1].job.prompt, "\"START\" on a wall");
  EXPECT_EQ(parti[1].metadata.dump(), "{\"Category\":\"Arts\",\"Challenge\":\"Basic\",\"Note\":\"\"}");
  // DrawBench: the column is called Prompts.
  const auto draw = read("p.csv", "Prompts,Category\nA red car.,Colors\n\"A cat, a dog.\",Counting\n");
  ASSERT_EQ(draw.size(), 2u);
  EXPECT_EQ(draw[1].job.prompt, "A cat, a dog.");
  // A column without a name, as pandas writes its index; a category called class beside a prompt; whose model it was.
  const auto pandas = read("p.csv", ",prompt,class,model\n0,a cat,animals,sdxl\n");
  EXPECT_EQ(pandas[0].metadata.dump(), "{\"column 1\":\"0\",\"class\":\"animals\",\"model\":\"sdxl\"}");
  EXPECT_FALSE(pandas[0].job.class_label.has_value());
  EXPECT_EQ(read("p.csv", "class,seed\ntabby cat,3\n")[0].job.class_label, "tabby cat");
}

TEST_F(PromptFiles, TablesAreRecognizedWhateverTheirName) {
  for (const std::string name : {"p.txt", "p", "p.dat"}) {
    EXPECT_EQ(ids_of(read(name, "id,prompt\nx,a cat\ny,a dog\n")), "x y") << name;
    EXPECT_EQ(ids_of(read(name, "id\tPrompt\nx\ta cat\n")), "x") << name;
    EXPECT_EQ(ids_of(read(name, "id;prompt\nx;a cat\n")), "x") << name;
  }
  EXPECT_EQ(ids_of(read("p.csv", "id;prompt\nx;a cat, a dog\n")), "x");
  EXPECT_EQ(ids_of(read("p.csv", "[{\"id\": \"j\", \"prompt\": \"a\"}]")), "j");
  // Text that only looks a little like one.
  EXPECT_EQ(read("p.txt", "a prompt, a cat\na dog, big\n").size(), 2u);
  EXPECT_EQ(read("p.txt", "prompt, one on each line\na dog, big\n").size(), 2u);
  EXPECT_EQ(read("p.txt", "prompt, style\na dog\n").size(), 2u);
}

TEST_F(PromptFiles, TheColumnOfThePromptIsAskedFor) {
  const std::string text = "id,video_caption,score\nx,a cat,3\n";
  EXPECT_TRUE(contains(refusal("p.csv", text),
                       "line 1: the first line names the columns, and no column is called \"prompt\"; "
                       "the nearest is \"video_caption\": pass --prompt-key video_caption"));
  prompt_key = "video_caption";
  const auto jobs = read("p.csv", text);
  EXPECT_EQ(jobs[0].job.prompt, "a cat");
  EXPECT_EQ(jobs[0].id, "x");
  EXPECT_EQ(jobs[0].metadata.dump(), "{\"score\":\"3\"}");
  EXPECT_EQ(read("p.txt", "a,video_caption\nx,y\n")[0].job.prompt, "y");
  EXPECT_TRUE(contains(refusal("p.csv", "prompt,seed\na,1\n"),
                       "no column is called \"video_caption\" (--prompt-key); want one of \"prompt\", \"seed\""));
  EXPECT_TRUE(contains(refusal("p.txt", "a cat\n"), "--prompt-key is for files whose prompts have keys or columns"));
}

TEST_F(PromptFiles, MistakesInTablesHaveTheirLines) {
  const std::string refused = refusal("p.csv", "prompt,seed,sed\na,1,\n\"b\nb\",x,\nc,2,3,4\n\"d\" e,1,\n");
  for (const char* part :
       {"line 2: unknown key \"sed\" (did you mean \"seed\"?)", "line 3: \"seed\" wants a whole number",
        "line 5: 4 fields, but the first line names 3", "line 6: text follows the quote"})
    EXPECT_TRUE(contains(refused, part)) << part << refused;
  EXPECT_TRUE(contains(refusal("p.csv", "prompt\n\"a\n"), "line 2: a field in quotes is not closed"));
  EXPECT_TRUE(contains(refusal("p.csv", "prompt,a,a\nb,c,d\n"), "line 1: two columns are called \"a\""));
  EXPECT_TRUE(contains(refusal("p.csv", "prompt\n"), "no prompt in the whole file"));
  EXPECT_TRUE(contains(refusal("p.csv", "prompt,seed\n,3\n"), "line 2"));
}

TEST_F(PromptFiles, Utf16IsNamed) {
  for (const std::string mark : {"\xFF\xFE", "\xFE\xFF"})
    EXPECT_TRUE(contains(refusal("p.csv", mark + "p"), "is UTF-16; save it as UTF-8")) << mark;
}

TEST_F(PromptFiles, KeysOfBenchmarksAreMetadata) {
  const auto geneval =
      read("p.jsonl", R"({"tag": "counting", "include": [{"class": "moon", "count": 3}], "prompt": "three moons"}
{"tag": "two", "include": [], "exclude": [{"class": "a", "count": 4}], "prompt": "b"}
)");
  ASSERT_EQ(geneval.size(), 2u);
  EXPECT_EQ(geneval[0].job.prompt, "three moons");
  EXPECT_EQ(geneval[0].metadata.dump(), R"({"tag":"counting","include":[{"class":"moon","count":3}]})");
  EXPECT_EQ(notes, std::vector<std::string>{"kept in the manifest as metadata: \"tag\", \"include\", \"exclude\""});
  const auto vbench =
      read("p.json", R"([{"prompt_en": "a cat", "dimension": ["color"], "auxiliary_info": {"color": "red"}}])");
  EXPECT_EQ(vbench[0].job.prompt, "a cat");
  EXPECT_EQ(vbench[0].metadata.dump(), R"({"dimension":["color"],"auxiliary_info":{"color":"red"}})");
  const auto named = read("p.json", R"({"00001": {"prompt": "a", "tag": 1}, "00002": {"prompt": "b"}})");
  EXPECT_EQ(ids_of(named), "00001 00002");
  EXPECT_EQ(named[0].metadata["tag"], 1);
}

TEST_F(PromptFiles, MisspelledKeysOfOursAreStillMistakes) {
  for (const std::string key : {"stepz", "guidence_scale", "negativ_prompt", "sed", "heigth", "num_infrence_steps"}) {
    const std::string entry = "{\"prompt\": \"a\", \"" + key + "\": \"1\"}";
    for (const std::string& text : {"[" + entry + "]", "{\"prompts\": [" + entry + "]}"})
      EXPECT_TRUE(contains(refusal("p.json", text), "unknown key \"" + key + "\" (did you mean")) << text;
    EXPECT_TRUE(contains(refusal("p.jsonl", entry), "unknown key \"" + key + "\" (did you mean")) << key;
  }
  // Our own form takes no other program's keys.
  EXPECT_TRUE(contains(refusal("p.json", R"({"prompts": [{"prompt": "a", "tag": 1}]})"), "unknown key \"tag\""));
  for (const std::string key :
       {"tag", "Note", "level", "video_prompt", "prompt_id", "item_id", "type", "scene", "style"})
    EXPECT_EQ(refusal("p.json", "[{\"prompt\": \"a\", \"" + key + "\": 1}]"), "accepted") << key;
}

TEST_F(PromptFiles, TheKeyOfThePromptIsAskedFor) {
  const std::string text = R"({"id": 0, "video_prompt": "A door closes.", "audio_prompt": "a soft thud"})";
  EXPECT_EQ(refusal("p.jsonl", text),
            ": 1 mistake; nothing was rendered\n  line 1: no key is called \"prompt\"; the "
            "nearest is \"video_prompt\": pass --prompt-key video_prompt");
  EXPECT_TRUE(contains(refusal("p.json", "[{\"promt\": \"a\"}]"), "the nearest is \"promt\""));
  EXPECT_TRUE(
      contains(refusal("p.json", "[{\"n\": 1, \"what\": \"a long text\", \"b\": \"c\"}]"), "the nearest is \"what\""));
  prompt_key = "video_prompt";
  const auto jobs = read("p.jsonl", text);
  ASSERT_EQ(ids_of(jobs), "0");
  EXPECT_EQ(jobs[0].job.prompt, "A door closes.");
  EXPECT_EQ(jobs[0].metadata.dump(), R"({"audio_prompt":"a soft thud"})");
  EXPECT_EQ(read("p.json", R"({"prompts": [{"video_prompt": "x"}]})")[0].job.prompt, "x");
  EXPECT_TRUE(contains(refusal("p.jsonl", text + "\n{\"id\": 1}"), "line 2: no \"video_prompt\" (--prompt-key) here"));
}

}  // namespace
}  // namespace tessera
