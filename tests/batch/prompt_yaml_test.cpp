#include <chrono>

#include "tests/batch/prompt_files.h"

namespace tessera {
namespace {

using test::ids_of;
using test::PromptFiles;

TEST_F(PromptFiles, OurFormInYaml) {
  const auto jobs = read("p.yaml", R"(# tonight
version: 1
defaults:
  steps: 4
  size: [32, 48]
prompts:
  - id: cat
    prompt: "a cat: sitting"
    guidance_scale: 3.50
    seed: [1, 2]
  - a dog
  - prompt: >-
      a bird
      in flight
    id: 007
    grid: {cfg_scale: [3, 5]}
)");
  ASSERT_EQ(ids_of(jobs), "cat_seed1 cat_seed2 000001 007_cfg_scale3 007_cfg_scale5");
  EXPECT_EQ(jobs[0].job.prompt, "a cat: sitting");
  EXPECT_EQ(jobs[0].job.cfg_scale, 3.5);
  EXPECT_EQ(jobs[0].job.steps, 4);
  EXPECT_EQ(jobs[0].job.height, 48);
  EXPECT_EQ(jobs[0].line, 7);
  EXPECT_EQ(jobs[2].job.prompt, "a dog");
  EXPECT_EQ(jobs[2].line, 11);
  EXPECT_EQ(jobs[3].job.prompt, "a bird in flight");
}

TEST_F(PromptFiles, OtherFormsInYaml) {
  EXPECT_EQ(ids_of(read("p.yml", "a/b: a cat\nc: a dog\n")), "a/b c");
  EXPECT_EQ(read("p.yml", "- 1.50\n- no\n- \"true\"\n- ~x\n")[0].job.prompt, "1.50");
  const auto request = read("p.yaml", R"(generator:
  engine:
    num_gpus: 1
request:
  prompt: >-
    A meadow at
    sunrise.
  sampling:
    num_frames: 9
    num_inference_steps: 5
  output:
    output_path: x
)");
  ASSERT_EQ(request.size(), 1u);
  EXPECT_EQ(request[0].job.prompt, "A meadow at sunrise.");
  EXPECT_EQ(request[0].job.frames, 9);
}

TEST_F(PromptFiles, NumbersInYamlAreTextWhereTextIsMeant) {
  const auto jobs = read("p.yaml", R"(prompts:
  - {prompt: 1.50, id: 007}
  - {prompt: 12, id: 1e3}
  - {prompt: c, sigmas: [1.00, 0.50], size: [032, 48]}
)");
  EXPECT_EQ(ids_of(jobs), "007 1e3 000002");
  EXPECT_EQ(jobs[0].job.prompt, "1.50");
  EXPECT_EQ(jobs[1].job.prompt, "12");
  EXPECT_EQ(jobs[2].job.sigmas, "1.00,0.50");
  EXPECT_EQ(jobs[2].job.width, 32);
}

TEST_F(PromptFiles, MistakesInYamlHaveTheirLines) {
  EXPECT_EQ(refusal("p.yaml", R"(version: 2
defaults:
  stepz: 4
prompts:
  - prompt: a
    guidence_scale: 3
  - prompt: b
    steps: 0
    steps: 1
  - 17: x
)"),
            R"(: 6 mistakes; nothing was rendered
  line 1: "version" must be 1, got 2
  line 3: unknown key "stepz" (did you mean "steps"?)
  line 6: unknown key "guidence_scale" (did you mean "guidance_scale"?)
  line 8: "steps" wants a whole number from 1 to 1000, got "0"
  line 9: "steps" is given twice (perhaps under another name)
  line 10: unknown key "17"; docs/batch.md lists the keys)");
  EXPECT_NE(refusal("p.yaml", "- a\n- [b\n- c\n").find("line 4: not valid YAML: "), std::string::npos);
  EXPECT_NE(refusal("p.yaml", "a: \"b\n").find("not valid YAML"), std::string::npos);
  EXPECT_NE(refusal("p.yaml", "- a\n\t- b\n").find("line 2: not valid YAML"), std::string::npos);
  EXPECT_NE(refusal("p.yaml", "- a\n---\n- b\n").find("line 2: not valid YAML: a second document"), std::string::npos);
  EXPECT_NE(refusal("p.yaml", "- a\n- !!python/object:os.system {}\n").find("line 2: not valid YAML: a tag"),
            std::string::npos);
  EXPECT_NE(refusal("p.yaml", "? [a, b]\n: c\n").find("a key must be a scalar"), std::string::npos);
  EXPECT_NE(refusal("p.yaml", "").find("the file is empty"), std::string::npos);
  EXPECT_NE(refusal("p.yaml", "# only a comment\n"), "accepted");
  EXPECT_NE(refusal("p.yaml", "- a \xFF\n").find("line 1: not UTF-8"), std::string::npos);
}

TEST_F(PromptFiles, HostileYamlEndsSoonAndInOneError) {
  const auto refused_soon = [&](const std::string& text, const std::string& why) {
    const auto start = std::chrono::steady_clock::now();
    const std::string refused = refusal("p.yaml", text);
    EXPECT_NE(refused.find(why), std::string::npos) << refused;
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 10) << why;
  };
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'k'; ++c) {
    const std::string before(1, static_cast<char>(c - 1));
    bomb += std::string(1, c) + ": &" + std::string(1, c) + " [";
    for (int i = 0; i < 9; ++i) bomb += (i ? ", *" : "*") + before;
    bomb += "]\n";
  }
  refused_soon(bomb, "line 2: not valid YAML: an alias");
  refused_soon("a: &a [*a]\n", "an alias");
  refused_soon("- &a x\n- <<: *a\n", "an alias");
  refused_soon(std::string(200000, '['), "levels");
  refused_soon(std::string(200000, '{'), "not valid YAML");
  refused_soon(std::string(200000, '-'), "p");
  std::string steps;
  for (int i = 0; i < 2000; ++i) steps += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  refused_soon(steps, "levels");
  std::string dashes;
  for (int i = 0; i < 50000; ++i) dashes += "- ";
  refused_soon(dashes, "levels");
  refused_soon("? " + std::string(100000, '?'), "");
  refused_soon("a: " + std::string(1 << 20, '"'), "not valid YAML");
}

}  // namespace
}  // namespace tessera
