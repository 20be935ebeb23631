#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/transfer.h"
#include "samplers/sampler.h"

namespace tessera {

/// Looks for NaN and infinity in the predictions and samples of one trajectory. On the CPU it throws at once. On a GPU
/// the counts of a call are copied behind its work and read when the next one has been queued, so the host never waits
/// for a call that has just begun. Nothing is looked for on the meta device.
class FiniteCheck {
 public:
  /// Throws Error (bad pixels) that names the step, its timestep and how many values are not finite; on a GPU for an
  /// earlier call.
  void prediction(const at::Tensor& values, int64_t call, const Sampler& sampler);
  void sample(const at::Tensor& values, int64_t call, const Sampler& sampler);
  /// Reads what is still on its way. Throws the same.
  void finish(const Sampler& sampler);

 private:
  at::Tensor bad_prediction_;  // count of a call whose sample is yet to come
  Download counts_;            // of the prediction and of the sample of call_
  int64_t call_ = 0, values_ = 0;
};

}  // namespace tessera
