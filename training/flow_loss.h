#pragma once

#include <ATen/core/Tensor.h>

#include "training/scene_model.h"
#include "training/scenes.h"

namespace tessera {

/// `count` times in (0, 1), float32 [count]: stratified draws from the logit-normal distribution (evenly spaced
/// quantiles, all moved by `offset` in [0, 1) of a spacing), shifted towards noise: t' = s t / (1 + (s - 1) t).
at::Tensor logit_normal_times(int64_t count, double offset, double shift);

/// Mean squared error of the velocity (noise - data) over `count` scenes that no training drew, each with its own noise
/// and time: the same for every model of the same autoencoder.
double validation_flow_loss(const SceneModel& model, const SceneRenderer& renderer, const SceneSize& size,
                            int64_t count, double shift);

}  // namespace tessera
