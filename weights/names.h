#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "weights/safetensors.h"

namespace tessera {

/// From a checkpoint's tensor name to ours (diffusers' and transformers' names). Whole names, never parts of them.
using NameTable = std::map<std::string, std::string>;

/// One attention module of Wan 2.1's own code or of the released MHLA code: q, k, v, o, norms, and what MHLA adds
/// (gate g, g_norm, lepe, block_attn), e.g. from + "q.weight" to into + "to_q.weight".
NameTable wan_attention_names(const std::string& from, const std::string& into);

/// A whole text-to-video transformer of Wan 2.1's own code, softmax or MHLA, with blocks 0 to layers - 1.
NameTable wan_transformer_names(int64_t layers);

/// A T5 or UMT5 encoder: the token embedding may be stored as shared.weight, as encoder.embed_tokens.weight, or tied
/// under both names; ours is shared.weight.
NameTable t5_encoder_names();

/// True when the transformer in `file` has the names of Wan's own code, which differ in every block from ours.
bool has_original_wan_names(const TensorFile& file);

/// The same tensors under the table's names; names that the table lacks stay. Two names may end as one only when they
/// hold equal tensors (tied weights); otherwise throws Error naming the file and both.
TensorFile renamed(const TensorFile& file, const NameTable& table);

}  // namespace tessera
