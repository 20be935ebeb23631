// diffusers' WanPipeline from a saved directory: tokens, prompt states, latents after every step, frames.
#include "pipelines/families/wan/resolve.h"
#include "pipelines/families/wan/sampling.h"
#include "pipelines/families/wan/text_to_video.h"
#include "pipelines/recipe.h"
#include "samplers/loop.h"
#include "tests/support/fixture.h"
#include "tests/support/wan_network.h"

namespace tessera {
namespace {

/// The scheduler of a run by its settings in the fixture, which name their class unless it is the first of its kind.
SamplerConfig scheduler_of(const test::Fixture& fixture, const nlohmann::json& run) {
  const std::string name = run.at("sch");
  nlohmann::json settings = fixture.config.at("schedulers").at(name);
  if (!settings.contains("_class_name"))
    settings["_class_name"] =
        settings.contains("shift") ? "FlowMatchEulerDiscreteScheduler" : "UniPCMultistepScheduler";
  return read_scheduler_config({settings, name});
}

Job job_of(const nlohmann::json& run) {
  Job job;
  job.prompt = run.at("prompt");
  if (run.contains("negative") && run.at("negative").is_string()) job.negative_prompt = run.at("negative");
  job.width = run.at("w");
  job.height = run.at("h");
  job.frames = run.at("frames");
  job.steps = run.at("steps");
  job.cfg_scale = run.at("g");
  job.max_sequence_length = run.at("max_len");
  job.seed = 0;
  return job;
}

/// Largest difference relative to the reference's largest number.
void expect_states(const test::Fixture& fixture, const std::string& name, const at::Tensor& states) {
  EXPECT_CLOSE(states, fixture[name], 2e-5);
}

std::pair<at::Tensor, at::Tensor> expect_text(const test::Fixture& fixture, const std::string& name,
                                              const WanModel& model, const Job& job) {
  const Tokenizer tokenizer = load_tokenizer(model);
  const auto encoder = load_text_encoder(model, "fp32", at::kCPU);
  const int64_t length = *job.max_sequence_length;
  const auto prompt = tokenize_prompt(tokenizer, job.prompt, length).ids;
  const at::Tensor want = fixture[name + ".prompt_ids"];
  EXPECT_EQ(prompt,
            std::vector<int64_t>(want.const_data_ptr<int64_t>(), want.const_data_ptr<int64_t>() + want.numel()));
  const at::Tensor prompt_states = encode_prompt(encoder.part, prompt, length, at::kCPU);
  expect_states(fixture, name + ".prompt_embeds", prompt_states);
  if (*job.cfg_scale <= 1) return {prompt_states, {}};  // the reference encodes no negative prompt either
  const auto negative = tokenize_prompt(tokenizer, job.negative_prompt, length).ids;
  const at::Tensor negative_states = encode_prompt(encoder.part, negative, length, at::kCPU);
  expect_states(fixture, name + ".negative_embeds", negative_states);
  return {prompt_states, negative_states};
}

void expect_run(const test::Fixture& fixture, const nlohmann::json& run, const TensorFile& noises) {
  const std::string name = run.at("name");
  SCOPED_TRACE(name);
  const c10::InferenceMode inference;
  WanModel model = open_wan_model(fixture.folder / "pipeline");
  model.scheduler = scheduler_of(fixture, run);
  std::vector<std::string> notes;
  const at::Tensor noise = noises.at(name);
  Job asked = job_of(run);
  if (asked.prompt.empty()) asked.prompt = "any";  // the reference takes an empty prompt, a user's is a mistake
  Job job = resolve_job(asked, model, noise, notes);
  job.prompt = run.at("prompt");
  const auto [positive, negative] = expect_text(fixture, name, model, job);
  const auto transformer = load_transformer(model, "fp32", at::kCPU);
  int64_t compared = 0;
  const auto compare = [&](size_t, int64_t done, const at::Tensor& sample) {
    EXPECT_CLOSE(sample, fixture[name + ".latents_after_step" + std::to_string(done - 1)], 1e-4);
    ++compared;
  };
  const at::Tensor latents = sample_one({.sampler = sampler_of(job, model),
                                         .noise = noise,
                                         .guidance = guidance_of(job),
                                         .positive = positive,
                                         .negative = negative},
                                        test::network_of(transformer), {.on_step = compare});
  EXPECT_TRUE(fixture.has(name + ".latents_after_step" + std::to_string(compared - 1)));
  EXPECT_FALSE(fixture.has(name + ".latents_after_step" + std::to_string(compared)));
  std::vector<at::Tensor> chunks;
  decode_latents(model, load_vae(model, "fp32", at::kCPU), latents,
                 [&](const at::Tensor& frames) { chunks.push_back(frames); });
  const at::Tensor frames = at::cat(chunks, 2).select(0, 0).permute({1, 2, 3, 0});  // [T, H, W, 3]
  const at::Tensor want = fixture[name + ".frames"];
  ASSERT_EQ(frames.sizes(), want.sizes());
  EXPECT_LE((frames - want).abs().max().item<double>(), 1e-4);
}

TEST(WanPipeline, EqualsTheReferenceAtEveryStep) {
  const test::Fixture fixture("wan_pipeline");
  const TensorFile noises = read_safetensors(fixture.folder / "init_noise.safetensors");
  ASSERT_FALSE(fixture.config.at("runs").empty());
  for (const auto& run : fixture.config.at("runs")) expect_run(fixture, run, noises);
}

TEST(WanPipeline, TheSavedSchedulerIsTheDefault) {
  const test::Fixture fixture("wan_pipeline");
  const WanModel model = open_wan_model(fixture.folder / "pipeline");
  const Job defaults = model_defaults(model);
  const Component& saved = model.folder.component("scheduler");
  EXPECT_EQ(defaults.sampler, sampler_of_class(saved.class_name));
  const JsonConfig settings = saved.config();
  EXPECT_EQ(defaults.flow_shift, settings.number(settings.has("flow_shift") ? "flow_shift" : "shift", 1.0));
  EXPECT_EQ(defaults.steps, 50);
  EXPECT_EQ(defaults.frames, 81);
  EXPECT_EQ(defaults.max_sequence_length, 512);
}

}  // namespace
}  // namespace tessera
