#include "training/scene_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <numeric>

#include "core/rng.h"
#include "samplers/guidance.h"
#include "samplers/loop.h"
#include "samplers/registry.h"
#include "weights/bind.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

/// Per-channel numbers as [1, C, 1, 1, 1].
at::Tensor per_channel(const std::vector<double>& values) {
  return at::tensor(values, at::kFloat).view({1, -1, 1, 1, 1});
}

}  // namespace

void SceneModel::check_sizes(const std::vector<SceneSize>& sizes, const std::string& where) const {
  const Extent3& patch = transformer.config().patch_size;
  check_scene_sizes(sizes, vae.config().spatial_stride() * std::lcm(patch[1], patch[2]), vae.config().temporal_stride(),
                    where);
}

at::Tensor SceneModel::context(const std::vector<std::string>& prompts) const {
  const TokenBatch tokens = tokenizer.encode_batch(prompts, text_length);
  return zero_padding(text_encoder.forward(tokens.ids, tokens.mask, dtype), tokens.mask);
}

at::Tensor SceneModel::encode(const at::Tensor& frames) const {
  const at::Tensor mean = vae.encode(frames.to(dtype)).mean.to(at::kFloat);
  return (mean - per_channel(vae.config().latents_mean)) / per_channel(vae.config().latents_std);
}

std::vector<at::Tensor> SceneModel::sample(const std::vector<std::string>& prompts, const std::vector<uint64_t>& seeds,
                                           const SceneSampling& sampling) const {
  const c10::NoGradGuard no_gradients;
  const int64_t space = vae.config().spatial_stride(), time = vae.config().temporal_stride();
  const at::Tensor noise = seeded_noise_batch(
      {vae.config().z_dim, 1 + (sampling.frames - 1) / time, sampling.height / space, sampling.width / space}, seeds);
  SamplerConfig config;
  config.flow_shift = sampling.flow_shift;
  const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
    return transformer(x.to(dtype), timesteps, condition);
  };
  const at::Tensor normal = sample_one({.sampler = make_sampler(config, {.steps = sampling.steps}),
                                        .noise = noise,
                                        .guidance = {.scale = sampling.guidance},
                                        .positive = context(prompts),
                                        .negative = context(std::vector<std::string>(prompts.size()))},
                                       network);
  const at::Tensor latents = normal * per_channel(vae.config().latents_std) + per_channel(vae.config().latents_mean);
  std::vector<at::Tensor> frames;
  for (int64_t i = 0; i < latents.size(0); ++i)
    frames.push_back(vae.decode(latents.narrow(0, i, 1).to(dtype))[0].to(at::kFloat));
  return frames;
}

std::unique_ptr<SceneModel> open_scene_model(const std::filesystem::path& folder, at::ScalarType dtype) {
  const ModelDir dir = open_model_dir(folder);
  const Component &text = dir.component("text_encoder"), &transformer = dir.component("transformer"),
                  &vae = dir.component("vae");
  if (!dir.index.has("generation_defaults"))
    throw Error(folder.string() +
                "/model_index.json: has no generation_defaults; only models written by `tessera train denoiser` can be "
                "evaluated");
  std::unique_ptr<SceneModel> model(new SceneModel{
      Tokenizer(dir.component("tokenizer").file("spiece.model")), Umt5Encoder(Umt5Config::from_json(text.config())),
      WanTransformer(WanTransformerConfig::from_json(transformer.config())),
      WanVae(WanVaeConfig::from_json(vae.config())),
      dir.index.object("generation_defaults").integer("max_sequence_length"), dtype});
  const auto fill = [&](auto& part, const Component& component) {
    ParamList params;
    part.params(params);
    bind(params, read_weights(component), dtype, at::kCPU);
  };
  fill(model->text_encoder, text);
  fill(model->transformer, transformer);
  fill(model->vae, vae);
  return model;
}

}  // namespace tessera
