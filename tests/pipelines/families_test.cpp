// Every row of the table of families answers what the commands ask: info, convert, and generate's checks.
#include "pipelines/families/families.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "checkpoints/convert.h"
#include "checkpoints/model_info.h"
#include "core/error.h"
#include "pipelines/renderer.h"
#include "tests/support/files.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// A small model of the family and a job that it renders.
struct Example {
  fs::path model;
  Job job;
};

Example example_of(const Family& family) {
  Job job;
  job.seed = 1;
  job.steps = 2;
  fs::path model;
  if (family.name == "wan") {
    model = test::fixture_folder() / "wan_pipeline" / "pipeline";
    job.prompt = "a cat";
    job.width = job.height = 32;
    job.frames = 1;
  } else if (family.name == "dit") {
    model = test::fixture_folder() / "dit_pipeline" / "pipeline";
    job.class_label = "1,2";
  } else {
    ADD_FAILURE() << "no example of the family " << family.name << ": add one here";
  }
  job.model = model;
  return {model, job};
}

TEST(Families, NamesAndClassesAreDistinct) {
  std::set<std::string> names, classes;
  for (const Family& family : families()) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name;
    for (const std::string& pipeline : family.pipelines) EXPECT_TRUE(classes.insert(pipeline).second) << pipeline;
    for (const std::string& name : family.denoiser.classes) EXPECT_TRUE(classes.insert(name).second) << name;
  }
  EXPECT_GE(names.size(), 2u);
}

TEST(Families, EachDescribesItsModel) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const auto info = read_model_info(example_of(family).model, families());
    ASSERT_TRUE(info);
    EXPECT_TRUE(info->runs()) << info->obstacle;
    EXPECT_EQ(info->class_name, family.pipelines.front());
    EXPECT_FALSE(info->attention.empty());
    EXPECT_NE(info->tokens.find(" = "), std::string::npos) << info->tokens;
    ASSERT_TRUE(info->defaults);
    EXPECT_GT(*info->defaults->steps, 0);
  }
}

TEST(Families, EachConvertsItsModel) {
  const test::TemporaryFolder folder;
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const fs::path out = folder / family.name;
    ConvertRequest request;
    request.input = example_of(family).model;
    request.output = out;
    EXPECT_GT(convert_model(request, families(), [](const std::string&) {}).bytes, 0);
    const auto info = read_model_info(out, families());
    ASSERT_TRUE(info);
    EXPECT_TRUE(info->runs()) << info->obstacle;
    EXPECT_NO_THROW(family.check(out, {}));
    EXPECT_EQ(&family_of(out, families(), {}), &family);
  }
}

TEST(Families, EachChecksWhatItIsAsked) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const Example example = example_of(family);
    const auto renderer = open_renderer(example.job);
    EXPECT_NO_THROW(renderer->check_weights());
    std::vector<std::string> notes;
    const Job job = renderer->resolve(example.job, {}, notes);
    EXPECT_FALSE(job.output.empty());
    EXPECT_FALSE(job.model_fingerprint.empty());
    const std::vector<Job> singles = renderer->single_outputs(job);
    EXPECT_EQ(singles.size(), family.name == "dit" ? 2u : 1u);
    EXPECT_GT(renderer->calls(singles.front()), 0);
    Job odd = example.job;
    odd.width = odd.height = 7;
    EXPECT_THROW(renderer->resolve(odd, {}, notes), Error);
  }
}

TEST(Families, AClassThatNoFamilyHasIsRefusedWithThoseThatAre) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder / "model_index.json", R"({"_class_name": "StableDiffusionPipeline"})");
  try {
    family_of(folder.path(), families(), {});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("StableDiffusionPipeline is not supported; want DiTPipeline or WanPipeline"), std::string::npos)
        << text;
  }
}

/// A stale part folder of a killed run with this process's id stays as it is and out of the new model.
TEST(Families, AConversionIsNeverMixedWithWhatAKilledOneLeft) {
  const test::TemporaryFolder folder;
  const fs::path stale = folder / (".out." + std::to_string(::getpid()) + ".part");
  fs::create_directory(stale);
  test::write_bytes(stale / "left_over.safetensors", "stale");
  ConvertRequest request;
  request.input = test::fixture_folder() / "dit_pipeline" / "pipeline";
  request.output = folder / "out";
  convert_model(request, families(), [](const std::string&) {});
  EXPECT_FALSE(fs::exists(folder / "out" / "left_over.safetensors"));
  EXPECT_TRUE(fs::exists(stale / "left_over.safetensors"));
}

}  // namespace
}  // namespace tessera
