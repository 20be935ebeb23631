#pragma once

#include "weights/names.h"

namespace tessera {

/// The tensors of a Stable Diffusion autoencoder under diffusers' current names, from any of its layouts: these names;
/// diffusers' older ones (query, key, value, proj_attn in attention); or those of the original latent diffusion code
/// (encoder.down.0.block.0...), alone or under first_stage_model. in a complete checkpoint. Attention weights stored as
/// 1x1 convolutions become matrices. Unknown names are kept for bind to report, except in the original layout, whose
/// files also hold other networks and the loss.
TensorFile autoencoder_kl_tensors(const TensorFile& file);

}  // namespace tessera
