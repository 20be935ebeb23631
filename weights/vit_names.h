#pragma once

#include "weights/safetensors.h"

namespace tessera {

/// True when `file` has the names of a timm vision transformer without class token, as MHLA's and FLatten's DeiT have.
bool has_vit_names(const TensorFile& file);

/// The same tensors under our names: MHLA's fused to_qkv comes apart (views), q_norm, k_norm and piece_attn become
/// norm_q, norm_k and block_attn. The wrapper module. of distributed training goes. Other names stay, for bind to
/// report.
TensorFile vit_tensors(const TensorFile& file);

}  // namespace tessera
