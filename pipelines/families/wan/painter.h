#pragma once

#include "checkpoints/wan/model.h"
#include "models/wan/tiny_decoder.h"
#include "pipelines/preview.h"

namespace tessera {

/// Paints latents [1, C, t, h, w] by the linear map of the model's config: the frames of preview_frames side by side,
/// at half the size of the output. Throws Error naming the config when it has no map.
LatentPainter linear_painter(const WanModel& model);

/// The same by a tiny decoder, at the output's own size.
LatentPainter decoded_painter(TinyDecoder decoder);

}  // namespace tessera
