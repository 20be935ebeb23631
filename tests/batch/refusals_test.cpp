#include "batch/refusals.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace tessera {
namespace {

using Texts = std::vector<std::string>;

/// Like a model, it stops at the first thing that it refuses.
void check(const Job& job) {
  if (job.prompt.empty()) throw Error("no prompt");
  const int64_t width = job.width.value_or(32), height = job.height.value_or(32);
  if (width % 32 || height % 32) throw Error("size " + std::to_string(width) + "x" + std::to_string(height));
  if (job.sampler == "ddim") throw Error("sampler");
  if (job.scheduler == "karras" && job.sampler.value_or("unipc") == "unipc") throw Error("karras with unipc");
}

TEST(Refusals, EveryOneIsFound) {
  Job job;
  job.prompt = "a";
  EXPECT_EQ(all_refusals(job, check), Texts{});
  job.width = 33;
  job.height = 40;
  EXPECT_EQ(all_refusals(job, check), Texts{"size 33x40"});
  job.sampler = "ddim";
  job.prompt = "";
  job.scheduler = "karras";
  EXPECT_EQ(all_refusals(job, check), (Texts{"no prompt", "size 33x40", "sampler", "karras with unipc"}));
  EXPECT_EQ(all_refusals(job, [](const Job&) { throw Error("always"); }), Texts{"always"});
}

/// That a job has no picture is no mistake of one whose picture cannot be read.
TEST(Refusals, WhatIsLeftOutIsNotMissed) {
  Job job;
  job.image.path = "bad.png";
  const auto needs_picture = [](const Job& asked) {
    if (asked.image.empty()) throw Error("give it with --image FILE");
    throw Error("--image: cannot read " + asked.image.path);
  };
  EXPECT_EQ(all_refusals(job, needs_picture), Texts{"--image: cannot read bad.png"});
}

}  // namespace
}  // namespace tessera
