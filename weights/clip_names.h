#pragma once

#include "weights/safetensors.h"

namespace tessera {

/// The tensors of CLIP's vision tower under transformers' names (vision_model.*), from any of its layouts: these names,
/// with or without vision_model., beside a projection; or those of Wan's own code (visual.* of
/// models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth), which also holds a text tower and whose q, k and v are one
/// matrix. What is not of the tower is left out.
TensorFile clip_vision_tensors(const TensorFile& file);

/// True for a file of Wan's own image encoder, or of CLIP's vision tower.
bool is_clip_vision(const TensorFile& file);

}  // namespace tessera
