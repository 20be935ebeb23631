#include "pipelines/untrained.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

using Lines = std::vector<std::string>;

ModelDir model(const nlohmann::json& index) {
  return {.path = "m", .class_name = "WanPipeline", .index = {index, "model_index.json"}, .components = {}};
}

ModelDir silhouettes() {
  return model({{"trained_on",
                 {{"sizes", {"128x128"}}, {"frames", {1, 17}}, {"words", {"a", "red", "star", "on", "background"}}}}});
}

Job job(const std::string& prompt, int64_t side = 128, int64_t frames = 17) {
  Job made;
  made.prompt = prompt;
  made.width = made.height = side;
  made.frames = frames;
  return made;
}

Lines notes(const ModelDir& folder, const std::vector<Job>& jobs) {
  Untrained untrained(folder);
  for (const Job& one : jobs) untrained.add(one);
  return untrained.notes();
}

TEST(Untrained, WhatTheModelKnowsIsNotMentioned) {
  EXPECT_EQ(notes(silhouettes(), {job("A red star, on a red background."), job("star", 128, 1)}), Lines{});
  EXPECT_EQ(notes(model(nlohmann::json::object()), {job("a cat", 160, 33)}), Lines{});
  EXPECT_EQ(notes(silhouettes(), {}), Lines{});
}

TEST(Untrained, NamesTheWordsOfOnePrompt) {
  Job cat = job("a Cat on a red sofa, a cat");
  cat.negative_prompt = "blurry star";
  EXPECT_EQ(
      notes(silhouettes(), {cat, cat}),
      Lines{"the prompt has words that this model was not trained on: \"cat\", \"sofa\", \"blurry\"; it draws only "
            "what it knows, and tessera info lists its words"});
}

TEST(Untrained, ThousandsOfPromptsMakeOneLine) {
  std::vector<Job> jobs = {job("a red star")};
  for (int i = 0; i < 3000; ++i) jobs.push_back(job("a word" + std::to_string(i)));
  EXPECT_EQ(
      notes(silhouettes(), jobs),
      Lines{"3000 of 3001 prompts have words that this model was not trained on: \"word0\", \"word1\", \"word2\", "
            "\"word3\", \"word4\", \"word5\", \"word6\", \"word7\" and 2992 more; it draws only what it knows, and "
            "tessera info lists its words"});
}

TEST(Untrained, NamesSizesAndLengthsOnce) {
  EXPECT_EQ(notes(silhouettes(), {job("star", 160), job("star", 160, 33), job("star", 96, 5), job("star")}),
            (Lines{"this model was trained at 128x128 only; at 160x160, 96x96 shapes may be wrong",
                   "this model was trained with 1 or 17 frames only; with 5, 33 shapes and motion may be wrong"}));
}

}  // namespace
}  // namespace tessera
