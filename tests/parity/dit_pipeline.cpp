// diffusers' DiTPipeline from a saved directory: the network, latents after every step, pictures.
#include "pipelines/families/dit/renderer.h"
#include "pipelines/families/dit/sampling.h"
#include "samplers/loop.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

constexpr double kForward = 2e-5, kLatents = 1e-4, kPixels = 5e-4;

struct DitPipeline : testing::Test {
  test::Fixture fixture{"dit_pipeline"};
  DitModel model{open_dit_model(fixture.folder / "pipeline", {})};
  Loaded<Dit> transformer{load_transformer(model, "fp32", at::kCPU)};
};

TEST_F(DitPipeline, TheNetworkEqualsTheReference) {
  if (!fixture.has("forward.out")) return;
  EXPECT_CLOSE(transformer.part(fixture["forward.x"], fixture["forward.t"], fixture["forward.labels"]),
               fixture["forward.out"], kForward);
}

TEST_F(DitPipeline, EveryStepAndPictureEqualsTheReference) {
  const c10::InferenceMode inference;
  const TensorFile noises = read_safetensors(fixture.folder / "init_noise.safetensors");
  const auto vae = load_vae(model, "fp32", at::kCPU);
  ASSERT_FALSE(fixture.config.at("runs").empty());
  for (const auto& run : fixture.config.at("runs")) {
    const std::string name = run.at("name");
    SCOPED_TRACE(name);
    const auto labels = run.at("labels").get<std::vector<int64_t>>();
    Job asked;
    for (const int64_t label : labels)
      asked.class_label = (asked.class_label ? *asked.class_label + "," : "") + std::to_string(label);
    asked.steps = run.at("steps").get<int64_t>();
    asked.cfg_scale = run.at("g").get<double>();
    asked.seed = 0;
    std::vector<std::string> notes;
    const Job job = resolve_job(asked, model, noises.at(name), notes);
    const auto batch = static_cast<int64_t>(labels.size());
    const std::shared_ptr<Sampler> sampler = sampler_of(job, model);
    for (int64_t i = 0; i < sampler->calls(); ++i)
      EXPECT_EQ(sampler->schedule().timesteps[static_cast<size_t>(i)], fixture[name + ".timesteps"][i].item<int64_t>());
    int64_t compared = 0;
    const auto compare = [&](size_t, int64_t done, const at::Tensor& sample) {
      EXPECT_CLOSE(sample, fixture[name + ".trajectory"][done - 1].narrow(0, 0, batch), kLatents);
      ++compared;
    };
    const at::Tensor classes = at::tensor(labels, at::kLong);
    const at::Tensor latents = sample_one({.sampler = sampler,
                                           .noise = noises.at(name),
                                           .guidance = guidance_of(job, model),
                                           .positive = classes,
                                           .negative = at::full_like(classes, model.class_count())},
                                          network_of(transformer, takes_variance(job, model)), {.on_step = compare});
    EXPECT_EQ(compared, fixture[name + ".trajectory"].size(0));
    if (fixture.has(name + ".vae_latents"))
      EXPECT_CLOSE(latents / model.vae.scaling_factor, fixture[name + ".vae_latents"], kLatents);
    const at::Tensor images = decode_latents(model, vae, latents, 0).permute({0, 2, 3, 1});
    ASSERT_EQ(images.sizes(), fixture[name + ".images"].sizes());
    EXPECT_LE((images - fixture[name + ".images"]).abs().max().item<double>(), kPixels);
  }
}

TEST_F(DitPipeline, DefaultsAreThoseOfThePipeline) {
  const Job defaults = model_defaults(model);
  EXPECT_EQ(defaults.sampler, sampler_of_class(model.folder.component("scheduler").class_name));
  EXPECT_EQ(defaults.steps, 50);
  EXPECT_EQ(defaults.cfg_scale, 4.0);
  EXPECT_EQ(defaults.cfg_channels, 0);
  EXPECT_EQ(defaults.width, model.transformer.sample_size * model.vae.stride());
}

}  // namespace
}  // namespace tessera
