#pragma once

#include "weights/names.h"

namespace tessera {

/// True when `file` has the names of facebookresearch's DiT or of MHLA's, which is built from it.
bool has_original_dit_names(const TensorFile& file);

/// Blocks in a file with those names.
int64_t original_dit_layers(const TensorFile& file);

/// The same tensors under our names (diffusers'): fused q, k and v come apart, and every block gets the one embedding
/// of time and class; all of them views. A stored pos_embed becomes pos_embed.pos_embed. Names that are not known stay,
/// for bind to report. Throws Error naming the file and tensor for a fused weight that does not come apart.
TensorFile original_dit_tensors(const TensorFile& file);

}  // namespace tessera
