// What every client of a Renderer relies on: generate, decode, batch and the library.
#include "pipelines/renderer.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "pipelines/denoise_tasks.h"
#include "pipelines/recipe.h"
#include "samplers/registry.h"
#include "tests/support/files.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

fs::path dit_pipeline() {
  return test::fixture_folder() / "dit_pipeline" / "pipeline";
}

Job class_job(const std::string& model, const std::string& label, int64_t seed) {
  Job job;
  job.model = model;
  job.class_label = label;
  job.seed = seed;
  job.steps = 4;
  job.dtype = "fp32";
  return job;
}

std::vector<Job> resolved(const Renderer& renderer, const Job& job) {
  std::vector<std::string> notes;
  return renderer.single_outputs(renderer.resolve(job, {}, notes));
}

/// A DiT-MHLA checkpoint, whose normalizers are counted, and jobs that differ in all that one call may mix.
class MhlaRenderer : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path source = test::fixture_folder() / "dit_mhla";
    fs::copy_file(source / "checkpoint.pt", folder / "model.pt");
    const nlohmann::json heads = {{"num_heads", read_json_object(source / "config.json").at("model").at("num_heads")}};
    test::write_bytes(folder / "model.json", heads.dump());
    Job guided = job("1", 1), cached = job("2", 2), alone = job("3", 3);
    cached.step_cache = 1e6;
    alone.cfg_scale = 1.0;
    renderer = open_renderer(guided);
    for (const Job& asked : {guided, cached, alone}) jobs.push_back(resolved(*renderer, asked).front());
  }

  Job job(const std::string& label, int64_t seed) const {
    Job made = class_job(folder / "model.pt", label, seed);
    made.vae = dit_pipeline().string();
    return made;
  }

  std::vector<DenoiseResult> denoise(const std::vector<Job>& some) {
    std::vector<DenoiseRequest> requests;
    for (const Job& one : some) requests.push_back({.job = &one});
    BatchLimit limit{.tasks = some.size()};
    Progress silent("", renderer->calls(some.front()), ProgressStyle::kNone);
    return renderer->denoise(requests, limit, silent);
  }

  const c10::InferenceMode inference;
  test::TemporaryFolder folder;
  std::unique_ptr<Renderer> renderer;
  std::vector<Job> jobs;
};

TEST_F(MhlaRenderer, AJobOfAGroupHasItsOwnLatentsAndCounts) {
  const std::vector<DenoiseResult> group = denoise(jobs);
  ASSERT_EQ(group.size(), 3u);
  for (size_t i = 0; i < jobs.size(); ++i) {
    SCOPED_TRACE(i);
    const DenoiseResult alone = denoise({jobs[i]}).front();
    ASSERT_FALSE(group[i].failure);
    EXPECT_CLOSE(group[i].latents, alone.latents,
                 1e-4);  // the program itself, which sets MKL_CBWR, gives the same bits
    EXPECT_EQ(group[i].step_cache.reused, alone.step_cache.reused);
    EXPECT_EQ(group[i].normalizers.values, alone.normalizers.values);
  }
  EXPECT_EQ(group[1].step_cache.reused, 3);  // of 4 calls
  EXPECT_GT(group[2].normalizers.values, 0);
  EXPECT_EQ(group[0].normalizers.values, 2 * group[2].normalizers.values);  // both branches of guidance
  EXPECT_EQ(group[0].normalizers.values, 4 * group[1].normalizers.values);  // one call in four reached the network
}

TEST_F(MhlaRenderer, AReleasedDenoiserIsReadAgain) {
  const at::Tensor before = denoise({jobs[0]}).front().latents;
  renderer->release_denoiser();
  EXPECT_TRUE(at::equal(denoise({jobs[0]}).front().latents, before));
}

TEST(DenoiseTasks, CountsGoToTheTaskWhoseRowsTheyAre) {
  const c10::InferenceMode inference;
  SamplerConfig config;
  config.prediction = Prediction::kFlow;
  config.sampler = "euler";
  std::vector<SampleTask> tasks(2);
  for (SampleTask& task : tasks) {
    task.sampler = make_sampler(config, {.steps = 2});
    task.noise = at::ones({1, 1});
    task.positive = task.negative = at::zeros({1, 1});
  }
  tasks[0].guidance.scale = 1;  // one row; the other has two
  NormalizerStats stats;
  const auto network = [&](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
    EXPECT_EQ(x.size(0), 3);
    stats = {.values = at::tensor({10, 10, 10}), .near_zero = at::tensor({1, 2, 4}), .negative = at::tensor({0, 0, 1})};
    return x;
  };
  BatchLimit limit{.tasks = 2};
  Progress silent("", 2, ProgressStyle::kNone);
  const auto results = denoise_tasks(tasks, network, stats, limit, silent);
  EXPECT_EQ(to_json(results[0].normalizers).dump(), R"({"values":20,"near_zero":2,"negative":0})");
  EXPECT_EQ(to_json(results[1].normalizers).dump(), R"({"values":40,"near_zero":12,"negative":2})");
}

TEST(Renderer, FingerprintsItsModelOnce) {
  const test::TemporaryFolder folder;
  const fs::path model = folder / "model";
  fs::copy(dit_pipeline(), model, fs::copy_options::recursive);
  const Job asked = class_job(model, "1", 1);
  const auto renderer = open_renderer(asked);
  const auto fingerprint = [](const Renderer& opened, const Job& job) {
    return output_recipe(resolved(opened, job).front()).at("model_fingerprint");
  };
  const auto before = fingerprint(*renderer, asked);
  test::write_bytes(model / "more.txt", "another file");
  EXPECT_EQ(fingerprint(*renderer, asked), before);
  EXPECT_NE(fingerprint(*open_renderer(asked), asked), before);
}

TEST(Renderer, TheModelOfAJobThatNamesNoneMayBeOfAnyFamily) {
  setenv("TESSERA_MODEL", dit_pipeline().c_str(), 1);
  const auto renderer = open_renderer(class_job("", "1", 1));
  unsetenv("TESSERA_MODEL");
  EXPECT_NO_THROW(renderer->check_weights());
}

}  // namespace
}  // namespace tessera
