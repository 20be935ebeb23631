#include "batch/reproduce_command.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/job.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

/// The words that bash hands to a program called `tessera`.
std::vector<std::string> words_in_bash(const std::string& line) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "script", std::ios::binary) << "tessera() { printf '%s\\0' \"$@\"; }\n" << line << "\n";
  const test::ProcessResult result = test::Process({"/bin/bash", folder / "script"}).wait();
  EXPECT_EQ(result.err, "");
  std::vector<std::string> words;
  for (size_t at = 0; at < result.out.size();) {
    const size_t end = result.out.find('\0', at);
    words.push_back(result.out.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

TEST(ShellQuoted, PlainWordsStayAsTheyAre) {
  EXPECT_EQ(shell_quoted("832x480"), "832x480");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("a cat"), "'a cat'");
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quoted("a\nb'\x1b"), "$'a\\nb\\'\\x1b'");
  EXPECT_EQ(shell_quoted("~"), "'~'");
}

TEST(ShellQuoted, BashReadsEveryTextBack) {
  std::string every;
  for (int c = 1; c < 128; ++c) every += static_cast<char>(c);
  for (const std::string& text : {every, std::string("$(touch x) `id` ${HOME} !! \\ \" '"), std::string("مرحبا 🎉"),
                                  std::string("a\r\nb\\n"), std::string("x\x1b[31m'; rm -rf y #"),
                                  std::string("\x01"
                                              "0f"),
                                  std::string("*?[a] {a,b} ~ # ; & | < >")})
    EXPECT_EQ(words_in_bash("tessera " + shell_quoted(text)), std::vector<std::string>{text});
}

TEST(ReproduceCommand, SaysWhatTheRecipeSaysAndNoMore) {
  Job job;
  job.prompt = "a 'red' star";
  job.negative_prompt = "rain";
  job.seed = 9;
  job.width = 64;
  job.cfg_scale = 4.5;
  job.apg_momentum = -0.5;
  job.cfg_zero = true;
  EXPECT_EQ(
      words_in_bash(reproduce_command(recipe_json(job), "-x.png")),
      (std::vector<std::string>{"generate", "a 'red' star", "--negative-prompt", "rain", "--width", "64", "--seed", "9",
                                "--cfg-scale", "4.5", "--apg-momentum=-0.5", "--cfg-zero", "-o", "./-x.png"}));
}

TEST(ReproduceCommand, APromptLikeAFlagIsNotOne) {
  EXPECT_EQ(reproduce_command({{"prompt", "--help me"}, {"seed", 1}}, "x.png"),
            "tessera generate --prompt='--help me' --seed 1 -o x.png");
}

TEST(ReproduceCommand, EveryLoraIsAFlag) {
  Job job;
  job.prompt = "a cat";
  job.loras = {{"a b.safetensors", 0.5, "12"}, {"-c", -1}};
  const std::vector<std::string> words = words_in_bash(reproduce_command(recipe_json(job), "x.png"));
  EXPECT_EQ(words, (std::vector<std::string>{"generate", "a cat", "--lora", "a b.safetensors:0.5", "--lora=-c:-1.0",
                                             "-o", "x.png"}));
  Job again;
  set_job_option(again, find_job_option("lora"), value_of_all(find_job_option("lora"), {words[3], "-c:-1.0"}));
  EXPECT_EQ(again.loras, (std::vector<LoraUse>{{"a b.safetensors", 0.5}, {"-c", -1}}));
}

}  // namespace
}  // namespace tessera
