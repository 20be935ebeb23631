#pragma once

#include "weights/safetensors.h"

namespace tessera {

/// True when `file` has the tensor names of a timm vision transformer without a class token, as MHLA's and FLatten's
/// DeiT have.
bool has_vit_names(const TensorFile& file);

/// The same tensors under this program's names: MHLA's fused to_qkv is split (views); q_norm, k_norm and piece_attn
/// become norm_q, norm_k and block_attn. The prefix module. of distributed training is removed. Unknown names are kept
/// for bind to report.
TensorFile vit_tensors(const TensorFile& file);

}  // namespace tessera
