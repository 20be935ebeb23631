#include <ATen/ATen.h>

#include <utility>

#include "checkpoints/dit/layout.h"
#include "core/rng.h"
#include "core/transfer.h"
#include "samplers/guidance.h"
#include "samplers/loop.h"
#include "samplers/registry.h"
#include "training/tuned_model.h"
#include "training/wan_data_encoder.h"

namespace tessera {
namespace {

/// Wan and Wan-MHLA from text, trained as a flow.
class TunedWan : public TunedModel {
 public:
  TunedWan(const FinetuneConfig& config, WanModel model)
      : model_(std::move(model)),
        part_(config.transformer.empty() ? model_.folder.component("transformer") : open_component(config.transformer)),
        transformer_(WanTransformerConfig::from_json(part_.config())),
        times_(config.times) {
    require_trainable(model_);
  }

  const ModelDir& folder() const override { return model_.folder; }
  EncodedBy encoded_by() const override { return tessera::encoded_by(model_); }
  const Component& part() const override { return part_; }
  TensorFile weights() const override { return read_component(part_); }
  void params(ParamList& out) override { transformer_.params(out); }
  bool trains(const std::string&) const override { return true; }
  void set_recompute(bool recompute) override { transformer_.set_recompute(recompute); }
  FlowTimes times() const override { return times_; }
  at::Tensor loss(const FlowBatch& batch, at::ScalarType dtype) const override {
    return flow_loss(transformer_, batch, dtype);
  }

  std::vector<at::Tensor> draw(const std::vector<int64_t>& shape, const std::vector<at::Tensor>& texts,
                               const at::Tensor& empty, const SheetSampling& sampling) const override {
    SamplerConfig sampler;
    sampler.flow_shift = sampling.shift;
    const auto network = [&](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition) {
      return transformer_(x.to(sampling.dtype), timesteps, condition.to(sampling.dtype));
    };
    const Loaded<WanVae> vae = load_vae(model_, "fp32", empty.device());
    std::vector<at::Tensor> frames;
    for (const at::Tensor& text : texts) {
      const at::Tensor latents =
          sample_one({.sampler = make_sampler(sampler, {.steps = sampling.steps}),
                      .noise = uploaded(seeded_noise_batch(shape, {frames.size()}), empty.device()),
                      .guidance = {.scale = sampling.guidance},
                      .positive = text.unsqueeze(0),
                      .negative = empty.unsqueeze(0)},
                     network)[0];
      frames.push_back(vae.part.decode(plain_latents(model_.vae, latents).unsqueeze(0))[0]);
    }
    return frames;
  }

 private:
  WanModel model_;
  Component part_;
  WanTransformer transformer_;
  FlowTimes times_;
};

}  // namespace

std::unique_ptr<TunedModel> open_tuned_wan(const FinetuneConfig& config) {
  return std::make_unique<TunedWan>(config, open_wan_model(config.model));
}

std::unique_ptr<TunedModel> open_tuned_model(const FinetuneConfig& config) {
  return recognize_dit_layout(config.model) ? open_tuned_dit(config) : open_tuned_wan(config);
}

}  // namespace tessera
