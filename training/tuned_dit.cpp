#include <ATen/ATen.h>

#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "core/transfer.h"
#include "samplers/guidance.h"
#include "samplers/loop.h"
#include "samplers/registry.h"
#include "training/diffusion_loss.h"
#include "training/dit_data_encoder.h"
#include "training/tuned_model.h"

namespace tessera {
namespace {

/// DiT and DiT-MHLA, trained as facebookresearch/DiT trains: every timestep as often, positions fixed.
class TunedDit : public TunedModel {
 public:
  TunedDit(const FinetuneConfig& config, DitModel model)
      : model_(std::move(model)),
        part_(config.transformer.empty() ? model_.folder.component("transformer") : open_component(config.transformer)),
        transformer_(DitConfig::from_json(part_.config())),
        loss_(model_.scheduler) {
    const std::string where = model_.folder.path.string();
    if (config.method == TuneMethod::kLora)
      throw Error(where + ": LoRAs are for text-to-video models; use tessera train full for this one");
    if (config.times_given)
      throw Error(where + ": time_mean, time_deviation and shift are for flows; this model learns all timesteps alike");
    if (config.caption_dropout > 0 && !transformer_.config().null_class)
      throw Error(where + ": has no class of none that dropped captions could stand for; set caption_dropout to 0");
  }

  const ModelDir& folder() const override { return model_.folder; }
  EncodedBy encoded_by() const override { return tessera::encoded_by(model_); }
  const Component& part() const override { return part_; }
  TensorFile weights() const override { return read_dit_transformer(part_); }
  void params(ParamList& out) override { transformer_.params(out); }
  bool trains(const std::string& name) const override { return name != "pos_embed.pos_embed"; }
  void set_recompute(bool recompute) override { transformer_.set_recompute(recompute); }
  FlowTimes times() const override { return {.shift = 1, .uniform = true}; }

  at::Tensor loss(const FlowBatch& batch, at::ScalarType dtype) const override {
    const at::Tensor latents = batch.latents.squeeze(2), noise = batch.noise.squeeze(2);  // [B, z, h, w]
    const int64_t count = loss_.timesteps();
    const at::Tensor timesteps = (batch.times * count).to(at::kLong).clamp(0, count - 1);
    const at::Tensor output = transformer_(loss_.noisy(latents, noise, timesteps).to(dtype), timesteps.to(at::kFloat),
                                           classes(batch.context));
    return loss_(output, latents, noise, timesteps);
  }

  std::vector<at::Tensor> draw(const std::vector<int64_t>& shape, const std::vector<at::Tensor>& texts,
                               const at::Tensor& empty, const SheetSampling& sampling) const override {
    SamplerConfig sampler = model_.scheduler;
    sampler.sampler = "ddim";
    const int64_t channels = shape[0];
    const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
      return transformer_(x.to(sampling.dtype), timesteps, condition).narrow(1, 0, channels);
    };
    const double guidance = transformer_.config().null_class ? sampling.guidance : 1.0;
    const Loaded<AutoencoderKl> vae = load_vae(model_, "fp32", empty.device());
    std::vector<at::Tensor> frames;
    for (const at::Tensor& text : texts) {
      const at::Tensor latents = sample_one(
          {.sampler = make_sampler(sampler, {.steps = sampling.steps}),
           .noise = uploaded(seeded_noise_batch({channels, shape[2], shape[3]}, {frames.size()}), empty.device()),
           .guidance = {.scale = guidance, .channels = channels},
           .positive = classes(text.unsqueeze(0)),
           .negative = classes(empty.unsqueeze(0))},
          network);
      const at::Tensor picture = vae.part.decode(latents / model_.vae.scaling_factor + model_.vae.shift_factor);
      frames.push_back(picture.transpose(0, 1));  // [3, 1, H, W]
    }
    return frames;
  }

 private:
  /// Text states [B, 1, 1] of a cache -> classes [B].
  static at::Tensor classes(const at::Tensor& states) { return states.flatten().to(at::kLong); }

  DitModel model_;
  Component part_;
  Dit transformer_;
  DiffusionLoss loss_;
};

}  // namespace

std::unique_ptr<TunedModel> open_tuned_dit(const FinetuneConfig& config) {
  return std::make_unique<TunedDit>(config, open_dit_model(config.model, {}));
}

}  // namespace tessera
