#pragma once

#include "checkpoints/wan/model.h"
#include "samplers/guidance.h"

namespace tessera::test {

/// A text-to-video denoiser as samplers call it; it must outlive the result.
inline ConditionalModel network_of(const Loaded<WanTransformer>& transformer) {
  return [&transformer](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& context) {
    return transformer.part(x.to(transformer.dtype), timesteps, context.to(transformer.dtype));
  };
}

}  // namespace tessera::test
