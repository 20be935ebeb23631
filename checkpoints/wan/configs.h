#pragma once

#include <string>

#include "core/json_config.h"
#include "weights/safetensors.h"

namespace tessera {

/// Whether a transformer has MHLA layers.
bool has_mhla_layers(const TensorFile& file);

/// config.json of Wan's own WanModel with the keys of diffusers' WanTransformer3DModel, but for those of image states,
/// which it does not tell: see with_image_sizes. Throws Error naming file and key when a size is missing or the model
/// is for neither text nor images to video.
JsonConfig diffusers_transformer_config(const JsonConfig& wan);

/// A transformer's config with what the tensors (canonical names) tell of image states: image_dim, added_kv_proj_dim,
/// pos_embed_seq_len.
JsonConfig with_image_sizes(const JsonConfig& config, const TensorFile& file);

/// The same from the shapes of a transformer's tensors under canonical names, image states included. Throws Error for a
/// softmax model of a width other than Wan's (shapes do not tell the number of heads) and for inconsistent
/// shapes. MHLA layers are described by an `attention` object without what shapes do not tell: `block_layout` and
/// `normalizer`.
JsonConfig transformer_config_of(const TensorFile& file);

/// transformers' config of a UMT5 encoder and of CLIP's vision tower, and diffusers' of Wan's autoencoders, from the
/// shapes of their tensors under canonical names.
JsonConfig text_encoder_config_of(const TensorFile& file);
JsonConfig image_encoder_config_of(const TensorFile& file);
JsonConfig vae_config_of(const TensorFile& file);

/// A scheduler_config.json for flow matching: UniPC as in Wan's own programs, or DPM-Solver++ as in the released MHLA
/// program.
JsonConfig wan_scheduler_config(const std::string& class_name, double flow_shift, const std::string& where);

}  // namespace tessera
