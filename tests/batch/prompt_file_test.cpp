#include "core/sha256.h"
#include "tests/batch/prompt_files.h"

namespace tessera {
namespace {

using test::ids_of;
using test::PromptFiles;

TEST_F(PromptFiles, OwnJsonHasDefaultsAndAliases) {
  const auto jobs = read("p.json", R"({
  "version": 1,
  "defaults": {"steps": 4, "num_frames": 9, "size": [32, 48]},
  "prompts": [
    {"id": "cat", "prompt": "a cat", "seed": 7, "guidance_scale": 3.5},
    "a dog",
    {"prompt": "a bird", "num_inference_steps": 8, "negative_prompt": null}
  ]
})");
  ASSERT_EQ(ids_of(jobs), "cat 000001 000002");
  EXPECT_EQ(jobs[0].job.prompt, "a cat");
  EXPECT_EQ(jobs[0].job.seed, 7);
  EXPECT_EQ(jobs[0].job.cfg_scale, 3.5);
  EXPECT_EQ(jobs[0].job.steps, 4);
  EXPECT_EQ(jobs[0].job.frames, 9);
  EXPECT_EQ(jobs[0].job.width, 32);
  EXPECT_EQ(jobs[0].job.height, 48);
  EXPECT_EQ(jobs[0].line, 5);
  EXPECT_EQ(jobs[1].job.prompt, "a dog");
  EXPECT_EQ(jobs[1].line, 6);
  EXPECT_EQ(jobs[2].job.steps, 8);
}

TEST_F(PromptFiles, FlagsWinOverDefaultsAndGiveWayToAPrompt) {
  const auto jobs = read("p.json", R"({"defaults": {"steps": 4, "seed": [1, 2]},
    "prompts": [{"prompt": "a"}, {"prompt": "b", "steps": 9}]})",
                         {{"steps", "6"}, {"seed", "5"}});
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].job.steps, 6);
  EXPECT_EQ(jobs[1].job.steps, 9);
  EXPECT_EQ(jobs[0].job.seed, 5);
}

TEST_F(PromptFiles, ASeedLeftOutComesFromTheId) {
  const auto jobs = read("p.json", R"([{"id": "cat", "prompt": "a cat"}, {"id": "x", "prompt": "a", "seed": -1}])");
  // The first four bytes of SHA-256("cat"), as `printf cat | sha256sum` prints them.
  EXPECT_EQ(jobs[0].job.seed, 0x77af778b);
  EXPECT_EQ(jobs[1].job.seed, std::stoll(sha256("x").substr(0, 8), nullptr, 16));
}

TEST_F(PromptFiles, ListsLinesAndDictionaries) {
  EXPECT_EQ(ids_of(read("p.json", R"(["a", {"prompt": "b"}])")), "000000 000001");
  EXPECT_EQ(ids_of(read("p.jsonl", "\"a\"\n\n{\"id\": \"x\", \"prompt\": \"b\"}\n")), "000000 x");
  EXPECT_EQ(ids_of(read("lines", "{\"prompt\": \"a\"}\n{\"id\": \"x\", \"prompt\": \"b\"}\n")), "000000 x");
  const auto text = read("p.txt", "\xEF\xBB\xBF# a comment\na red star\r\n\n  [a] -- b  \n");
  ASSERT_EQ(text.size(), 2u);
  EXPECT_EQ(text[0].job.prompt, "a red star");
  EXPECT_EQ(text[1].job.prompt, "[a] -- b");
  EXPECT_EQ(text[1].line, 4);
  const auto named = read("p.json", R"({"set/one": "a cat", "b?": "a dog"})");
  ASSERT_EQ(ids_of(named), "set/one b_");
  EXPECT_EQ(named[1].job.prompt, "a dog");
}

TEST_F(PromptFiles, FormsOfOtherPrograms) {
  const auto vbench = read("p.json", R"([{"prompt_en": "a cat", "dimension": ["color"]}])");
  ASSERT_EQ(vbench.size(), 1u);
  EXPECT_EQ(vbench[0].job.prompt, "a cat");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("dimension"), std::string::npos);

  const auto script =
      read("p.txt",
           "--prompt \"a \\\"red\\\" cat\" --negative_prompt 'rain, fog' --sampler_name unipc --cfg_scale 3 "
           "--batch_size 2 --n_iter 3 --seed 5");
  ASSERT_EQ(script.size(), 6u);
  EXPECT_EQ(script[0].job.prompt, "a \"red\" cat");
  EXPECT_EQ(script[0].job.negative_prompt, "rain, fog");
  EXPECT_EQ(script[0].job.sampler, "unipc");
  EXPECT_EQ(script[5].job.seed, 10);
  EXPECT_EQ(script[5].id, "000000_5");
  const std::string too_many = "line 1: \"n_iter\" times \"batch_size\" is more than 10000";
  for (const std::string counts :
       {" --n_iter 10000 --batch_size 2", " --n_iter 4096 --batch_size 4096 --n_iter 4096",
        " --n_iter 4096 --n_iter 4096 --n_iter 4096 --n_iter 4096 --n_iter 4096 --n_iter 16"})
    EXPECT_NE(refusal("p.txt", "--prompt x" + counts).find(too_many), std::string::npos) << counts;

  const auto musubi = read("p.txt", "a cat, running --w 64 --h 32 --f 9 --d 3 --s 2 --l 4.5 --fs 2 --n rain, fog\n");
  ASSERT_EQ(musubi.size(), 1u);
  EXPECT_EQ(musubi[0].job.prompt, "a cat, running");
  EXPECT_EQ(musubi[0].job.width, 64);
  EXPECT_EQ(musubi[0].job.height, 32);
  EXPECT_EQ(musubi[0].job.frames, 9);
  EXPECT_EQ(musubi[0].job.seed, 3);
  EXPECT_EQ(musubi[0].job.steps, 2);
  EXPECT_EQ(musubi[0].job.cfg_scale, 4.5);
  EXPECT_EQ(musubi[0].job.flow_shift, 2.0);
  EXPECT_EQ(musubi[0].job.negative_prompt, "rain, fog");

  const auto server = read("p.json", R"({"prompt": "a cat", "width": 64, "batch_count": 2, "seed": 4, "lora": [],
    "sample_params": {"sample_method": "euler", "scheduler": "karras", "sample_steps": 3, "flow_shift": 2.5,
                      "custom_sigmas": [], "guidance": {"txt_cfg": 6.5}}})");
  ASSERT_EQ(server.size(), 2u);
  EXPECT_EQ(server[0].job.sampler, "euler");
  EXPECT_EQ(server[0].job.scheduler, "karras");
  EXPECT_FALSE(server[0].job.sigmas.has_value());
  EXPECT_EQ(server[0].job.steps, 3);
  EXPECT_EQ(server[0].job.flow_shift, 2.5);
  EXPECT_EQ(server[0].job.cfg_scale, 6.5);
  EXPECT_EQ(server[1].job.seed, 5);

  const auto dream = read("p.json", R"({"num_steps": 5, "seed": 9, "cfgs": [2, 4], "batch_size": 4,
    "samples": [{"prompt": "a"}, {"prompt": "b", "size": [64, 32]}]})");
  ASSERT_EQ(ids_of(dream), "000000_cfg_scale2 000000_cfg_scale4 000001_cfg_scale2 000001_cfg_scale4");
  EXPECT_EQ(dream[1].job.cfg_scale, 4.0);
  EXPECT_EQ(dream[2].job.width, 64);
  EXPECT_EQ(dream[2].job.steps, 5);
}

TEST_F(PromptFiles, LevelsOfTheServerFormSetStepsAndShift) {
  const auto server = read("p.json", R"({"prompt": "a cat", "sample_params": {"custom_sigmas": [1.0, 0.75, 0.25, 0.0],
    "sample_steps": 20, "flow_shift": 3, "scheduler": "default"}})");
  ASSERT_EQ(server.size(), 1u);
  EXPECT_EQ(server[0].job.sigmas, "1.0,0.75,0.25,0.0");
  EXPECT_EQ(server[0].job.flow_shift, 1.0);
  EXPECT_FALSE(server[0].job.steps.has_value());
  EXPECT_FALSE(server[0].job.scheduler.has_value());
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("\"flow_shift\" beside them have no effect"), std::string::npos);
  EXPECT_EQ(read("p.json", R"([{"prompt": "a", "sigmas": [1, 0.5]}])")[0].job.sigmas, "1,0.5");
  const std::string refused = refusal("p.json", R"([{"prompt": "a",
    "sample_params": {"scheduler": "karas"}}, {"prompt": "a",
    "sample_params": {"custom_sigmas": "none"}}])");
  EXPECT_NE(refused.find("line 2: \"scheduler\": "), std::string::npos) << refused;
  EXPECT_NE(refused.find("karras"), std::string::npos) << refused;
}

TEST_F(PromptFiles, FastVideosRequest) {
  const auto one = read("p.json", R"({"generator": {"model_path": "some/model", "engine": {"num_gpus": 4}},
    "request": {"prompt": "a meadow", "negative_prompt": "fog",
      "sampling": {"num_frames": 9, "height": 32, "width": 64, "num_inference_steps": 5, "seed": 1000, "fps": 24,
                   "guidance_scale": 1.5, "batch_cfg": false},
      "output": {"output_path": "x"}}})");
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].job.model, "some/model");
  EXPECT_EQ(one[0].job.prompt, "a meadow");
  EXPECT_EQ(one[0].job.negative_prompt, "fog");
  EXPECT_EQ(one[0].job.frames, 9);
  EXPECT_EQ(one[0].job.height, 32);
  EXPECT_EQ(one[0].job.steps, 5);
  EXPECT_EQ(one[0].job.seed, 1000);
  EXPECT_EQ(one[0].job.cfg_scale, 1.5);
  EXPECT_EQ(notes.size(), 3u);  // generator.engine, batch_cfg, request.output
  EXPECT_EQ(read("p.json", R"({"request": {"prompt": ["a", "b"], "sampling": {"seed": 3}}})").size(), 2u);
  // A dictionary of prompts whose key happens to be that word stays one.
  EXPECT_EQ(ids_of(read("p.json", R"({"request": "a cat", "b": "a dog"})")), "request b");
  const std::string refused = refusal("p.json", R"({"generator": 5,
    "request": {"inputs": {"prompt_path": "p.txt",
      "video_path": "x.mp4", "image_path": null},
      "sampling": {"num_framez": 3}},
    "serve": {}})");
  for (const char* part : {"line 1: \"generator\" wants an object", "line 2: \"prompt_path\": give that file itself",
                           "line 3: \"video_path\": making videos", "line 4: unknown key \"num_framez\"",
                           "line 5: unknown key \"serve\"", "no \"prompt\" in \"request\""})
    EXPECT_NE(refused.find(part), std::string::npos) << part << refused;
}

TEST_F(PromptFiles, PicturesAreNamedRelativeToTheFile) {
  const auto jobs = read("p.json", R"([{"prompt": "a", "image": "in/a.png", "last_image": "/b.png"},
    {"prompt": "b", "init_image": {"path": "c.png"}, "grid": {"resize_mode": ["crop", "pad"]}}])",
                         {{"image", "d.png"}});
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_TRUE(jobs[0].job.image.path.ends_with("/in/a.png")) << jobs[0].job.image.path;
  EXPECT_TRUE(jobs[0].job.image.path.starts_with("/"));
  EXPECT_EQ(jobs[0].job.last_image.path, "/b.png");
  EXPECT_TRUE(jobs[1].job.image.path.ends_with("/c.png")) << jobs[1].job.image.path;
  EXPECT_EQ(jobs[2].job.resize_mode, "pad");
  EXPECT_EQ(read("q.json", R"(["a"])", {{"image", "d.png"}})[0].job.image.path, "d.png");
  const auto tagged = read("p.txt", "a cat --i in/a.png --ei b.png --d 3\n");
  EXPECT_TRUE(tagged[0].job.image.path.ends_with("/in/a.png")) << tagged[0].job.image.path;
  EXPECT_TRUE(tagged[0].job.last_image.path.ends_with("/b.png")) << tagged[0].job.last_image.path;
  const auto table = read("p.csv", "prompt,Image,last_image\na,begin.png,end.png\nb,,\n");
  EXPECT_TRUE(table[0].job.image.path.ends_with("/begin.png")) << table[0].job.image.path;
  EXPECT_TRUE(table[0].job.last_image.path.ends_with("/end.png")) << table[0].job.last_image.path;
  EXPECT_TRUE(table[1].job.image.empty());
  // A column of a table with that name beside the option's other name is data.
  const auto rows = read("p.csv", "prompt,image,init_image\na,shown.png,begin.png\n");
  EXPECT_TRUE(rows[0].job.image.path.ends_with("/begin.png")) << rows[0].job.image.path;
  EXPECT_EQ(rows[0].metadata["image"], "shown.png");
}

TEST_F(PromptFiles, ANulIsNoPartOfAPrompt) {
  EXPECT_NE(refusal("p.json", R"(["a", {"prompt": "a\u0000b"}])").find("line 1: \"prompt\" holds a NUL"),
            std::string::npos);
}

TEST_F(PromptFiles, AFileFullOfMistakesIsGivenUp) {
  std::string lines;
  for (int i = 0; i < 20000; ++i) lines += "{\"prompt\": \"a\", \"stepz\": 1}\n";
  const std::string refused = refusal("p.jsonl", lines);
  EXPECT_EQ(refused.rfind(": 10000 or more mistakes; nothing was rendered\n  line 1: unknown key \"stepz\"", 0), 0u)
      << refused.substr(0, 200);
  EXPECT_NE(refused.find("and 9900 more"), std::string::npos);
}

TEST_F(PromptFiles, CountSeedsAndGridExpand) {
  const auto jobs = read("p.json", R"([{"id": "a", "prompt": "x", "seed": [1, 2], "count": 2, "output": "v/a.webm",
    "grid": {"cfg_scale": [3, 5.5]}}])");
  ASSERT_EQ(jobs.size(), 8u);
  EXPECT_EQ(jobs[0].id, "a_seed1_cfg_scale3_0");
  EXPECT_EQ(jobs[7].id, "a_seed2_cfg_scale5.5_1");
  EXPECT_EQ(jobs[7].job.seed, 3);
  EXPECT_EQ(jobs[7].job.output, "v/a_seed2_cfg_scale5.5_1.webm");
  EXPECT_EQ(jobs[7].job.cfg_scale, 5.5);
  EXPECT_EQ(jobs[7].job.count, 1);
}

TEST_F(PromptFiles, AllMistakesAtOnceWithLinesAndNearestKeys) {
  EXPECT_EQ(refusal("p.json", R"({
  "version": 2,
  "promts": [],
  "defaults": {"stepz": 4, "id": "x"},
  "prompts": [
    {"prompt": "a", "guidence_scale": 3},
    {"prompt": "a", "steps": 0},
    {"steps": 3},
    17,
    {"prompt": "a",
     "cfg_scale": 2,
     "guidance_scale": 3},
    {"prompt": "a", "device": "cpu", "count": [1, 2]}
  ]
})"),
            R"(: 11 mistakes; nothing was rendered
  line 2: "version" must be 1, got 2
  line 3: unknown key "promts" (did you mean prompts?)
  line 4: unknown key "stepz" (did you mean "steps"?)
  line 4: "id" belongs to one prompt, not to "defaults"
  line 6: unknown key "guidence_scale" (did you mean "guidance_scale"?)
  line 7: "steps" wants a whole number from 1 to 1000, got "0"
  line 8: no "prompt" (or "class") here
  line 9: want a prompt (text) or an object with "prompt", got 17
  line 12: "guidance_scale" is given twice (perhaps under another name)
  line 13: "device" is for the whole run: set it in "defaults" or with --device
  line 13: "count" must be a string, a number, true or false, got an array)");
}

TEST_F(PromptFiles, BrokenJsonNamesItsLine) {
  EXPECT_NE(refusal("p.json", "[\n\"a\",\n\"b\"\n\"c\"]").find("line 4: not valid JSON"), std::string::npos);
  EXPECT_NE(refusal("p.jsonl", "\"a\"\n{\"prompt\"}\n").find("line 2: not valid JSON"), std::string::npos);
  EXPECT_NE(refusal("p.json", std::string(100000, '[')).find("more than 64 nested levels"), std::string::npos);
  EXPECT_NE(refusal("p.json", "").find("line 1: not valid JSON"), std::string::npos);
  EXPECT_NE(refusal("p.json", "[]").find("no prompt in the whole file"), std::string::npos);
  EXPECT_NE(refusal("p.json", "{\"defaults\": {}}").find("\"prompts\" is missing"), std::string::npos);
  EXPECT_NE(refusal("p.txt", "a cat --verbos 1").find("unknown key \"verbos\""), std::string::npos);
  EXPECT_NE(refusal("p.txt", "--prompt 'a cat").find("quote ' is not closed"), std::string::npos);
  EXPECT_NE(refusal("p.txt", "--prompt").find("without a value"), std::string::npos);
}

TEST_F(PromptFiles, InvalidUtf8NamesItsLines) {
  const std::string text = refusal("p.txt", "good\nbad \xFF\ngood\nsurrogate \xED\xA0\x80\n");
  EXPECT_NE(text.find("2 mistakes"), std::string::npos) << text;
  EXPECT_NE(text.find("line 2: not UTF-8"), std::string::npos) << text;
  EXPECT_NE(text.find("line 4: not UTF-8"), std::string::npos) << text;
  EXPECT_NE(refusal("p.txt", std::string("nul \0", 5)).find("line 1: not UTF-8"), std::string::npos);
}

TEST_F(PromptFiles, IdsThatCannotNameAnOutput) {
  const auto one = [&](const std::string& id) {
    return refusal("p.json", nlohmann::json::array({{{"id", id}, {"prompt", "a"}}}).dump());
  };
  EXPECT_NE(one("../x").find("climbs out"), std::string::npos);
  EXPECT_NE(one("a/../../x").find("climbs out"), std::string::npos);
  EXPECT_NE(one("..\\x").find("climbs out"), std::string::npos);
  EXPECT_NE(one("/etc/x").find("absolute"), std::string::npos);
  EXPECT_NE(one("a//b").find("empty part"), std::string::npos);
  EXPECT_NE(one("a/").find("empty part"), std::string::npos);
  EXPECT_NE(one("").find("is empty"), std::string::npos);
  EXPECT_NE(one(".hidden").find("begins with a dot"), std::string::npos);
  EXPECT_NE(one(std::string(300, 'n')).find("300 bytes; at most 200"), std::string::npos);
  EXPECT_NE(one(std::string(201, 'n')).find("201 bytes; at most 200"), std::string::npos);
  EXPECT_EQ(one(std::string(200, 'n')), "accepted");
  EXPECT_NE(refusal("p.json", R"([{"prompt": "a", "output": "../x.mp4"}])").find("climbs out"), std::string::npos);
  EXPECT_NE(refusal("p.json", R"([{"prompt": "a", "output": "a%04d*.png"}])").find("refuse"), std::string::npos);
}

TEST_F(PromptFiles, IdsThatMeetEachOther) {
  EXPECT_NE(refusal("p.json", R"([{"id": "cat", "prompt": "a"},
{"id": "cat", "prompt": "b"}])")
                .find("line 2: the id \"cat\" is used twice, first on line 1"),
            std::string::npos);
  EXPECT_NE(refusal("p.json", R"([{"id": "cat", "prompt": "a"},
{"id": "Cat", "prompt": "b"}])")
                .find("differs from \"cat\" in case alone, which is on line 1"),
            std::string::npos);
  EXPECT_NE(refusal("p.json", R"([{"id": "a", "prompt": "a", "count": 2},
{"id": "a_1", "prompt": "b"}])")
                .find("line 2: the id \"a_1\" is used twice"),
            std::string::npos);
}

TEST_F(PromptFiles, TooLargeFilesAndPlans) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "p.txt") << std::string((1 << 20) + 1, 'a');
  try {
    read_prompt_file(folder / "p.txt", {}, 1 << 20);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("larger than 1 MiB"), std::string::npos) << e.what();
  }
  std::ofstream(folder / "p.txt") << "a cat\n";
  std::filesystem::resize_file(folder / "p.txt", 100 << 20);
  try {
    read_prompt_file(folder / "p.txt");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("larger than 64 MiB"), std::string::npos) << e.what();
  }
  std::string rows = "[";
  for (int i = 0; i < 101; ++i) rows += (i ? "," : "") + std::string("{\"prompt\": \"a\", \"count\": 10000}");
  EXPECT_NE(refusal("p.json", rows + "]").find("more than 1000000 outputs"), std::string::npos);
}

TEST(PromptSchema, TheDocumentIsMadeFromTheTable) {
  EXPECT_EQ(test::read_text(TESSERA_SOURCE_DIR "/docs/prompts.schema.json"), prompt_schema().dump(2) + "\n")
      << "write it anew: tessera batch --schema > docs/prompts.schema.json";
}

TEST(PromptSchema, EveryKeyOfTheSchemaIsReadAndNoOther) {
  const auto prompt = prompt_schema()["$defs"]["prompt"]["properties"];
  for (const JobOption& option : job_options())
    EXPECT_EQ(prompt.contains(json_key(option)), allowed_in_prompt_file(option, false)) << option.name;
  for (const auto& [key, schema] : prompt.items()) {
    if (key == "id" || key == "seeds" || key == "grid") continue;
    EXPECT_NO_THROW(find_job_option(key)) << key;
  }
  EXPECT_EQ(prompt["steps"]["maximum"], 1000.0);
  EXPECT_TRUE(prompt.contains("num_inference_steps"));
}

}  // namespace
}  // namespace tessera
