#include "app/command_line.h"

#include <gtest/gtest.h>

#include "app/help.h"
#include "samplers/registry.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using test::ProcessResult;

ProcessResult run(std::vector<std::string> arguments) {
  return test::tessera(std::move(arguments));
}

TEST(OptionNames, BothSpellingsAndShortNames) {
  EXPECT_EQ(option_names("s", {"seed", "base-seed"}), "-s,--seed,--base-seed,--base_seed");
  EXPECT_EQ(option_names("", {"json"}), "--json");
}

/// Help does nothing but print: it takes no longer than --version, give or take what a busy machine does.
TEST(Help, ListsCommandsAndExamplesAtOnce) {
  constexpr double kMost = 1.5;
  double fastest = 1e9, version = 1e9;
  for (int attempt = 0; attempt < 5 && fastest >= kMost * version; ++attempt) {
    const ProcessResult help = run({"--help"});
    version = std::min(version, run({"--version"}).cpu_seconds);
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_EQ(help.err, "");
    for (const char* part : {"Usage: tessera", "generate", "info", "train", "--version", "Examples"})
      EXPECT_NE(help.out.find(part), std::string::npos) << part;
    fastest = std::min(fastest, help.cpu_seconds);
  }
  EXPECT_LT(fastest, kMost * version);
}

TEST(Help, GenerateShowsEveryOptionOnceWithItsDefault) {
  const ProcessResult help = run({"generate", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const auto& option : job_options()) {
    const size_t first = help.out.find("--" + option.name + (option.value.empty() ? "" : " " + option.value));
    EXPECT_NE(first, std::string::npos) << option.name;
    for (const auto& alias : option.aliases) EXPECT_EQ(help.out.find("--" + alias + " "), std::string::npos) << alias;
  }
  EXPECT_NE(help.out.find("[model default]"), std::string::npos);
  EXPECT_NE(help.out.find("[auto]"), std::string::npos);
  EXPECT_NE(help.out.find("tessera generate \"a yellow star moving left on a blue background\" -o star.mp4"),
            std::string::npos);
  std::istringstream lines(help.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 120u) << line;
}

TEST(Help, NamesTheSamplers) {
  const std::string text = find_job_option("sampler").help;
  for (const auto& name : sampler_names(/*flow=*/true)) EXPECT_NE(text.find(name), std::string::npos) << name;
}

TEST(Help, HelpIsACommandToo) {
  EXPECT_EQ(run({"help"}).out, run({"--help"}).out);
  EXPECT_EQ(run({"help", "generate"}).out, run({"generate", "--help"}).out);
  EXPECT_EQ(run({"help", "train", "vae"}).out, run({"train", "vae", "--help"}).out);
  EXPECT_EQ(run({"help", "generate"}).exit_code, 0);
  const ProcessResult unknown = run({"help", "generat"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_EQ(unknown.err, "tessera: unknown command \"generat\" (did you mean generate?)\n");
}

TEST(Version, OneLineOnStdout) {
  for (const char* flag : {"--version", "-v", "-V"}) {
    const ProcessResult version = run({flag});
    EXPECT_EQ(version.exit_code, 0);
    EXPECT_EQ(version.out.rfind("tessera ", 0), 0u) << version.out;
    EXPECT_EQ(std::count(version.out.begin(), version.out.end(), '\n'), 1);
    EXPECT_EQ(version.err, "");
  }
}

void expect_refusal(const std::vector<std::string>& arguments, const std::string& message) {
  const ProcessResult result = run(arguments);
  EXPECT_EQ(result.exit_code, 2) << message;
  EXPECT_EQ(result.err, "tessera: " + message + "\n");
  EXPECT_EQ(result.out, "");
}

TEST(WrongUse, OneLineWithTheNearestNameAndExitCode2) {
  expect_refusal({"generat"}, "unknown command \"generat\" (did you mean generate?)");
  expect_refusal({"generate", "x", "--stepz", "5"}, "unknown option --stepz (did you mean --steps?)");
  expect_refusal({"generate", "x", "--cfg_scal=5"}, "unknown option --cfg_scal (did you mean --cfg-scale?)");
  expect_refusal({"generate", "x", "--banana"}, "unknown option --banana; see tessera generate --help");
  expect_refusal({"train", "prepare", "x", "--cache", "y", "--banana"},
                 "unknown option --banana; see tessera train prepare --help");
  expect_refusal({"generate", "a", "red", "star"}, "unexpected argument \"red\"; put text of several words in quotes");
  expect_refusal({"generate", "x", "--steps"}, "--steps needs a value");
  expect_refusal({"generate", "x", "--steps", "0"}, "--steps wants a whole number from 1 to 1000, got \"0\"");
  expect_refusal({"generate", "x", "-p", "y"},
                 "the prompt is given twice, as an argument and with --prompt; give it once");
  expect_refusal({"generate", "x", "--dtype", "fp33"}, "--dtype: unknown value \"fp33\" (did you mean fp32?)");
  expect_refusal({"generate", "x", "--device", "cuba"}, "--device: unknown device \"cuba\" (did you mean cuda?)");
}

TEST(WrongUse, ALongOptionWithOneDashIsNotAShortOneWithItsValue) {
  expect_refusal({"generate", "x", "-steps", "1"}, "unknown option -steps (did you mean --steps?)");
  expect_refusal({"generate", "x", "-seed=3"}, "unknown option -seed (did you mean --seed?)");
  expect_refusal({"generate", "x", "-negative_prompt", "y"},
                 "unknown option -negative_prompt (did you mean --negative-prompt?)");
  expect_refusal({"generate", "x", "-stpes", "1"}, "unknown option -stpes (did you mean --steps?)");
  expect_refusal({"generate", "x", "-frames", "1"}, "unknown option -frames (did you mean --frames?)");
  expect_refusal({"batch", "x.json", "-output", "out"}, "unknown option -output (did you mean --output?)");
  expect_refusal({"train", "vae", "-config", "x.json"}, "unknown option -config (did you mean --config?)");
  // Short options with their values attached stay what they are.
  expect_refusal({"generate", "x", "-sx"}, "--seed wants a whole number from -1 to 18446744073709551615, got \"x\"");
  expect_refusal({"generate", "x", "-W0"}, "--width wants a whole number from 1 to 16384, got \"0\"");
}

TEST(WrongUse, SwappedLettersFindTheirOption) {
  expect_refusal({"generate", "x", "--stpes", "1"}, "unknown option --stpes (did you mean --steps?)");
  expect_refusal({"genreate", "x"}, "unknown command \"genreate\" (did you mean generate?)");
}

TEST(WrongUse, NoCommandPrintsTheHelpOnStderr) {
  const ProcessResult result = run({});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("Usage: tessera"), std::string::npos);
}

}  // namespace
}  // namespace tessera
