#pragma once

#include <string>

#include "core/json_config.h"
#include "weights/safetensors.h"

namespace tessera {

/// Whether some layer of a transformer is MHLA's.
bool has_mhla_layers(const TensorFile& file);

/// config.json of Wan's own WanModel in the keys of diffusers' WanTransformer3DModel. Throws Error naming file and key
/// when a size is missing or the model is not text to video.
JsonConfig diffusers_transformer_config(const JsonConfig& wan);

/// The same from the shapes of a transformer's tensors, which bear our names. Throws Error for an image-to-video model,
/// for a softmax model of another width than Wan 2.1's (its shapes do not say the heads) and for shapes that make no
/// sense. MHLA layers are described by an `attention` object without what shapes do not say: `block_layout` and
/// `normalizer`.
JsonConfig transformer_config_of(const TensorFile& file);

/// transformers' config of a UMT5 encoder, and diffusers' of Wan 2.1's autoencoder, from the shapes of their tensors,
/// which bear our names.
JsonConfig text_encoder_config_of(const TensorFile& file);
JsonConfig vae_config_of(const TensorFile& file);

/// A scheduler_config.json of flow matching: UniPC as Wan's own programs have it, or DPM-Solver++ as the released
/// MHLA's.
JsonConfig wan_scheduler_config(const std::string& class_name, double flow_shift, const std::string& where);

}  // namespace tessera
