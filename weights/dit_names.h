#pragma once

#include "weights/names.h"

namespace tessera {

/// True when `file` has the tensor names of facebookresearch's DiT or of MHLA's, which is based on it.
bool has_original_dit_names(const TensorFile& file);

/// The number of blocks in such a file.
int64_t original_dit_layers(const TensorFile& file);

/// The same tensors under canonical names: fused q, k and v are split, and every block gets the shared embedding of
/// time and class; all of them are views. A stored pos_embed becomes pos_embed.pos_embed. Unknown names are kept for
/// bind to report. Throws Error naming the file and tensor for a fused weight that cannot be split.
TensorFile original_dit_tensors(const TensorFile& file);

}  // namespace tessera
