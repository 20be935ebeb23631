// On the meta device one tensor made on the CPU throws: the proof that no device is baked in.
#include <gtest/gtest.h>

#include "pipelines/recipe.h"
#include "pipelines/text_to_video.h"
#include "tests/support/fixture.h"
#include "tests/support/meta_kernels.h"

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
  job = complete_job(job, model, noise, notes);

  const auto encoder = on_meta<Umt5Encoder>(model.text_encoder, dtype);
  const at::Tensor states = encode_prompt(encoder.part, {5, 6, 1}, *job.max_sequence_length, at::kMeta);
  EXPECT_EQ(states.sizes(), at::IntArrayRef({1, 512, 32}));
  EXPECT_TRUE(states.is_meta());
  const auto transformer = on_meta<WanTransformer>(model.transformer, dtype);
  const auto solver = sampler_of(job, model);
  solver->set_noise([](at::IntArrayRef shape) { return at::empty(shape, at::TensorOptions().device(at::kMeta)); });
  StepCache cache(0.05);
  const at::Tensor latents = denoise(*solver, transformer, {states, states}, noise, guidance_of(job), cache, {});
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

}  // namespace
}  // namespace tessera
