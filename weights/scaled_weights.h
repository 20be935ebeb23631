#pragma once

#include "weights/safetensors.h"

namespace tessera {

/// The tensors of a file under the names of its networks, with fp8 and int8 weights as packed tensors
/// (kernels/packed.h): NAME.weight with its scale, which the file holds beside it as NAME.scale_weight (beside a marker
/// scaled_fp8) or NAME.weight_scale: one number, one for each row, or one for each square block. What a layer's format
/// is may be said by NAME.comfy_quant (JSON as bytes) or by `_quantization_metadata` of the header; the formats read
/// are float8_e4m3fn, float8_e5m2 (also by row or block), int8_tensorwise (also rotated, `convrot`) and int8_blockwise.
/// Scales of inputs are for hardware that multiplies in fp8, and are left out. fp8 matrices without any scale in the
/// whole file are packed as they are; every other tensor is unchanged.
///
/// Throws Error naming file and layer when a scale that must be there is not, belongs to no weight, has a shape that
/// does not fit or is not a finite number from 0 on, and for a format that is not read.
/// Sources: ComfyUI's checkpoint format (QUANTIZATION.md) and its older scaled fp8 files.
TensorFile with_scales(const TensorFile& stored);

/// Whether these fp8 weights were divided by scales that are no longer there: most of the matrices without a scale
/// reach the largest fp8 number, which happens only where a scale made them.
bool lost_scales(const TensorFile& file);

}  // namespace tessera
