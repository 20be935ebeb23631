#pragma once

#include "weights/names.h"

namespace tessera {

/// The tensors of a Stable Diffusion autoencoder under diffusers' names of today, whichever of its layouts the file
/// has: these names; diffusers' older ones (query, key, value, proj_attn in attention); or those of the original latent
/// diffusion code (encoder.down.0.block.0...), alone or under first_stage_model. in a whole checkpoint. Attention
/// weights that are 1x1 convolutions become matrices. Other names stay, for bind to report, but for the original
/// layout, whose files hold other networks and the loss too.
TensorFile autoencoder_kl_tensors(const TensorFile& file);

}  // namespace tessera
