#include "training/scene_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <numeric>

#include "core/rng.h"
#include "core/transfer.h"
#include "samplers/guidance.h"
#include "samplers/loop.h"
#include "samplers/registry.h"
#include "weights/bind.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

/// Per-channel numbers as [1, C, 1, 1, 1].
at::Tensor per_channel(const std::vector<double>& values, at::Device device) {
  return at::tensor(values, at::kFloat).view({1, -1, 1, 1, 1}).to(device);
}

}  // namespace

void SceneModel::check_sizes(const std::vector<SceneSize>& sizes, const std::string& where) const {
  const Extent3& patch = transformer.config().patch_size;
  check_scene_sizes(sizes, vae.config().spatial_stride() * std::lcm(patch[1], patch[2]), vae.config().temporal_stride(),
                    where);
}

at::Tensor SceneModel::context(const std::vector<std::string>& prompts) const {
  const TokenBatch tokens = tokenizer.encode_batch(prompts, text_length);
  const at::Tensor ids = uploaded(tokens.ids, device), mask = uploaded(tokens.mask, device);
  return zero_padding(text_encoder.forward(ids, mask, dtype), mask);
}

at::Tensor SceneModel::encode(const at::Tensor& frames) const {
  const at::Tensor mean = vae.encode(uploaded(frames, device).to(dtype)).mean.to(at::kFloat);
  return (mean - per_channel(vae.config().latents_mean, device)) / per_channel(vae.config().latents_std, device);
}

std::vector<at::Tensor> SceneModel::sample(const std::vector<std::string>& prompts, const std::vector<uint64_t>& seeds,
                                           const SceneSampling& sampling) const {
  const c10::NoGradGuard no_gradients;
  const int64_t space = vae.config().spatial_stride(), time = vae.config().temporal_stride();
  const std::vector<int64_t> shape = {vae.config().z_dim, 1 + (sampling.frames - 1) / time, sampling.height / space,
                                      sampling.width / space};
  const at::Tensor noise = uploaded(seeded_noise_batch(shape, seeds), device);
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
  const at::Tensor latents =
      normal * per_channel(vae.config().latents_std, device) + per_channel(vae.config().latents_mean, device);
  std::vector<at::Tensor> frames;
  for (int64_t i = 0; i < latents.size(0); ++i)
    frames.push_back(vae.decode(latents.narrow(0, i, 1).to(dtype))[0].to(at::kFloat).cpu());
  return frames;
}

std::unique_ptr<SceneModel> open_scene_model(const std::filesystem::path& folder, at::ScalarType dtype,
                                             at::Device device) {
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
      dir.index.object("generation_defaults").integer("max_sequence_length"), dtype, device});
  const auto fill = [&](auto& part, const Component& component) {
    ParamList params;
    part.params(params);
    bind(params, read_weights(component), dtype, device);
  };
  fill(model->text_encoder, text);
  fill(model->transformer, transformer);
  fill(model->vae, vae);
  return model;
}

}  // namespace tessera
