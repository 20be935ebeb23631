#pragma once

#include <string>

#include "core/json_config.h"
#include "weights/safetensors.h"

namespace tessera {

/// Whether a transformer has MHLA layers.
bool has_mhla_layers(const TensorFile& file);

/// config.json of Wan's own WanModel with the keys of diffusers' WanTransformer3DModel. Throws Error naming file and
/// key when a size is missing or the model is not text-to-video.
JsonConfig diffusers_transformer_config(const JsonConfig& wan);

/// The same from the shapes of a transformer's tensors under canonical names. Throws Error for an image-to-video model,
/// for a softmax model of a width other than Wan 2.1's (shapes do not tell the number of heads) and for inconsistent
/// shapes. MHLA layers are described by an `attention` object without what shapes do not tell: `block_layout` and
/// `normalizer`.
JsonConfig transformer_config_of(const TensorFile& file);

/// transformers' config of a UMT5 encoder, and diffusers' of Wan 2.1's autoencoder, from the shapes of their tensors
/// under canonical names.
JsonConfig text_encoder_config_of(const TensorFile& file);
JsonConfig vae_config_of(const TensorFile& file);

/// A scheduler_config.json for flow matching: UniPC as in Wan's own programs, or DPM-Solver++ as in the released MHLA
/// program.
JsonConfig wan_scheduler_config(const std::string& class_name, double flow_shift, const std::string& where);

}  // namespace tessera
