#pragma once

#include <ATen/core/Tensor.h>

#include "models/wan/transformer.h"
#include "training/scene_model.h"
#include "training/scenes.h"

namespace tessera {

/// Which times a flow is trained at: t = sigmoid(mean + deviation n) with n normal, then s t / (1 + (s - 1) t).
/// Source: SD3, arXiv:2403.03206, section 3.1.
struct FlowTimes {
  double mean = 0, deviation = 1, shift = 3;
  bool uniform = false;  ///< t is uniform before the shift instead; mean and deviation have no meaning then

  /// The time below which `part` in (0, 1) of all times lie.
  double quantile(double part) const;
};

/// A batch of clips as the network is trained on them.
struct FlowBatch {
  at::Tensor latents;  ///< [B, z, t, h, w] float32
  at::Tensor noise;    ///< like latents
  at::Tensor times;    ///< [B] float32 in (0, 1); 1 is noise
  at::Tensor context;  ///< [B, L, d] float32

  FlowBatch on(at::Device device) const;
};

/// The mean squared error of the velocity noise - latents, predicted from latents + t (noise - latents) in `dtype`:
/// float32, a scalar.
at::Tensor flow_loss(const WanTransformer& model, const FlowBatch& batch, at::ScalarType dtype);

/// `count` times in (0, 1), float32 [count]: stratified draws of FlowTimes with that shift (evenly spaced quantiles,
/// all moved by `offset` in [0, 1) of a spacing).
at::Tensor logit_normal_times(int64_t count, double offset, double shift);

/// `count` times in [0.9, 1), float32 [count]: evenly spaced, all moved by `offset` in [0, 1) of a spacing. The latents
/// of flat scenes show their colors at any lower time, and logit_normal_times hardly ever goes beyond 0.99.
at::Tensor noisy_times(int64_t count, double offset);

/// The flow loss over `count` scenes that no training drew, each with its own noise and time: the same for every model
/// of the same autoencoder.
double validation_flow_loss(const SceneModel& model, const SceneRenderer& renderer, const SceneSize& size,
                            int64_t count, double shift);

}  // namespace tessera
