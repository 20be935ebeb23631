#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "checkpoints/wan/model.h"
#include "pipelines/families/wan/image_condition.h"
#include "samplers/loop.h"

namespace tessera {

/// The denoiser of several tasks as the loop calls it: the expert that the timestep needs, shown what the pictures of
/// the tasks are. Tasks must have pictures of one kind, or none, and reach the experts' boundary at the same call. It
/// must outlive the models that it gives out, and so must `stats` (the counts of MHLA's normalizers in the last call)
/// and `probe`; both may be null.
class WanNetwork {
 public:
  struct Expert {
    WanExpert which;
    const Loaded<WanTransformer>& transformer;
  };
  /// The model for calls at that timestep, in memory until the next question.
  using Experts = std::function<Expert(double timestep)>;

  /// `images`: one for each task.
  WanNetwork(Experts experts, std::vector<ImageCondition> images, NormalizerStats* stats, AttentionProbe* probe)
      : experts_(std::move(experts)), images_(std::move(images)), stats_(stats), probe_(probe) {}

  /// Whose rows the next call has, and at which timestep: the loop's before_network_call, before every call.
  void begin(std::span<const TaskRows> rows) { rows_.assign(rows.begin(), rows.end()); }
  /// See ConditionalModel: x [R, z, t, h, w], timesteps [R], context [R, L, text_dim].
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& context);

 private:
  /// One part of the pictures for every row of the call; undefined where the tasks have none.
  at::Tensor of_rows(at::Tensor ImageCondition::*part) const;

  Experts experts_;
  std::vector<ImageCondition> images_;
  NormalizerStats* stats_;
  AttentionProbe* probe_;
  std::vector<TaskRows> rows_, known_rows_;  // of this call, and of the one that the kept keys are from
  WanKeptKeys kept_;                         // of kept_by_, from one call to the next
  WanExpert kept_by_ = WanExpert::kHighNoise;
};

/// Latents with the first frame that a picture gives, if it gives one: in what the denoiser sees and in the result.
at::Tensor with_first_frame(const at::Tensor& latents, const at::Tensor& first_frame);

}  // namespace tessera
