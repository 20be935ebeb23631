// On the meta device one tensor made on the CPU throws: the proof that no device is baked in.
#include <gtest/gtest.h>

#include "pipelines/families/dit/renderer.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/families/wan/sampling.h"
#include "pipelines/families/wan/text_to_video.h"
#include "samplers/loop.h"
#include "tests/support/fixture.h"
#include "tests/support/meta_kernels.h"
#include "tests/support/wan_network.h"

namespace tessera {
namespace {

template <class Part, class Config>
Loaded<Part> on_meta(const Config& config, at::ScalarType dtype) {
  Loaded<Part> loaded{Part(config), dtype};
  ParamList params;
  loaded.part.params(params);
  make_meta(params, dtype);
  return loaded;
}

/// Prompt to frames of a model whose weights are shapes alone.
void render_on_meta(const WanModel& model, const std::string& sampler, at::ScalarType dtype) {
  SCOPED_TRACE(sampler + " " + c10::toString(dtype));
  const c10::InferenceMode inference;
  Job job;
  job.prompt = "a star";
  job.width = 48;
  job.height = 32;
  job.frames = 9;
  job.steps = 3;
  job.seed = 1;
  job.sampler = sampler;
  std::vector<std::string> notes;
  const at::Tensor noise = at::empty({1, 16, 3, 4, 6}, at::TensorOptions().device(at::kMeta));
  job = resolve_job(job, model, noise, notes);

  const auto encoder = on_meta<Umt5Encoder>(model.text_encoder, dtype);
  const at::Tensor states = encode_prompt(encoder.part, {5, 6, 1}, *job.max_sequence_length, at::kMeta);
  EXPECT_EQ(states.sizes(), at::IntArrayRef({1, 512, 32}));
  EXPECT_TRUE(states.is_meta());
  const auto transformer = on_meta<WanTransformer>(model.transformer, dtype);
  SampleTask task{.sampler = sampler_of(job, model),
                  .noise = noise,
                  .guidance = guidance_of(job),
                  .positive = states,
                  .negative = states,
                  .step_cache = 0.05};
  task.sampler->set_noise(
      [](at::IntArrayRef shape) { return at::empty(shape, at::TensorOptions().device(at::kMeta)); });
  const at::Tensor latents = sample_one(std::move(task), test::network_of(transformer));
  EXPECT_EQ(latents.sizes(), noise.sizes());
  EXPECT_TRUE(latents.is_meta());
  int64_t frames = 0;
  decode_latents(model, on_meta<WanVae>(model.vae, dtype), latents, [&](const at::Tensor& chunk) {
    EXPECT_TRUE(chunk.is_meta());
    EXPECT_EQ(chunk.size(3), 32);
    EXPECT_EQ(chunk.size(4), 48);
    frames += chunk.size(2);
  });
  EXPECT_EQ(frames, 9);
}

TEST(MetaDevice, TheWholePathRuns) {
  test::use_meta_kernels();
  WanModel model = open_wan_model(test::fixture_folder() / "wan_pipeline" / "pipeline");
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const char* sampler : {"unipc", "euler", "dpmpp_2m_sde"}) render_on_meta(model, sampler, dtype);
    WanModel linear = open_wan_model(test::fixture_folder() / "wan_pipeline" / "pipeline");
    linear.transformer.attention.kind = AttentionKind::kMhla;
    linear.transformer.attention.block_layout = {2, 2, 2};
    linear.transformer.attention.lepe = true;
    linear.transformer.attention.gated = true;
    linear.transformer.position_embedding = Extent3{2, 4, 4};
    render_on_meta(linear, "unipc", dtype);
  }
}

/// Two classes to pictures.
void render_on_meta(const DitModel& model, const std::string& sampler, at::ScalarType dtype) {
  SCOPED_TRACE(sampler + " " + c10::toString(dtype));
  const c10::InferenceMode inference;
  const auto meta = at::TensorOptions().device(at::kMeta);
  const int64_t side = model.transformer.sample_size, channels = model.transformer.in_channels;
  const at::Tensor noise = at::empty({1, channels, side, side}, meta);
  Job job;
  job.class_label = "3";
  job.steps = 3;
  job.seed = 1;
  job.sampler = sampler;
  std::vector<std::string> notes;
  job = resolve_job(job, model, noise, notes);

  const auto transformer = on_meta<Dit>(model.transformer, dtype);
  std::vector<SampleTask> tasks(2);
  for (SampleTask& task : tasks) {
    task.sampler = sampler_of(job, model);
    task.sampler->set_noise([&](at::IntArrayRef shape) { return at::empty(shape, meta); });
    task.noise = noise;
    task.guidance = guidance_of(job, model);
    task.positive = task.negative = at::empty({1}, meta.dtype(at::kLong));
  }
  BatchLimit limit{2, {}};
  const auto results = sample_batch(tasks, network_of(transformer, takes_variance(job, model)), limit);
  const auto vae = on_meta<AutoencoderKl>(model.vae, dtype);
  for (const SampleResult& result : results) {
    ASSERT_FALSE(result.failure);
    EXPECT_EQ(result.sample.sizes(), noise.sizes());
    for (const int64_t tile : {int64_t{0}, 4 * model.vae.stride()}) {
      const at::Tensor picture = decode_latents(model, vae, result.sample, tile);
      EXPECT_TRUE(picture.is_meta());
      EXPECT_EQ(picture.scalar_type(), at::kFloat);
      EXPECT_EQ(picture.sizes(), at::IntArrayRef({1, 3, model.pixels(), model.pixels()}));
    }
  }
}

TEST(MetaDevice, ClassToImageRuns) {
  test::use_meta_kernels();
  const DitModel model = open_dit_model(test::fixture_folder() / "dit_pipeline" / "pipeline", {});
  DitModel linear = open_dit_model(test::fixture_folder() / "dit_pipeline" / "pipeline", {});
  linear.transformer.attention.kind = AttentionKind::kMhla;
  linear.transformer.attention.block_layout = {1, 2, 2};
  linear.transformer.attention.lepe = true;
  linear.transformer.attention.qk_norm = true;
  DitModel focused = open_dit_model(test::fixture_folder() / "dit_pipeline" / "pipeline", {});
  focused.transformer.attention.kind = AttentionKind::kFocused;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const char* sampler : {"ddim", "ddpm", "dpmpp_2m", "euler"}) render_on_meta(model, sampler, dtype);
    render_on_meta(linear, "ddim", dtype);
    render_on_meta(focused, "ddim", dtype);
  }
}

}  // namespace
}  // namespace tessera
