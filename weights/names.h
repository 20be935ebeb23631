#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "weights/safetensors.h"

namespace tessera {

/// From a checkpoint's tensor name to the canonical one, which is that of diffusers or transformers. Whole names, never
/// parts of them.
using NameTable = std::map<std::string, std::string>;

/// One attention module of Wan 2.1's own code or of the released MHLA code: q, k, v, o, norms, and what MHLA adds
/// (gate g, g_norm, lepe, block_attn), e.g. from + "q.weight" to into + "to_q.weight".
NameTable wan_attention_names(const std::string& from, const std::string& into);

/// A complete transformer of Wan's own code, for text or images to video, softmax or MHLA, with blocks 0 to layers - 1.
NameTable wan_transformer_names(int64_t layers);

/// A T5 or UMT5 encoder: the token embedding may be stored as shared.weight, as encoder.embed_tokens.weight, or tied
/// under both names; the canonical name is shared.weight.
NameTable t5_encoder_names();

/// The encoder of UMT5 under the names of Wan 2.1's own code (models_t5_umt5-xxl-enc-bf16.pth), with blocks 0 to layers
/// - 1.
NameTable wan_text_encoder_names(int64_t layers);

/// The encoder of UMT5 under the names of llama.cpp, as GGUF files have them, with blocks 0 to layers - 1.
NameTable gguf_text_encoder_names(int64_t layers);

/// The autoencoder of Wan 2.1's own code (Wan2.1_VAE.pth) with `levels` resolutions: `res_blocks` residual blocks at
/// each in the encoder, one more in the decoder.
NameTable wan_vae_names(int64_t levels, int64_t res_blocks);

/// The residual autoencoder of Wan 2.2's own code (Wan2.2_VAE.pth), whose levels are nested in both halves.
NameTable wan22_vae_names(int64_t levels, int64_t res_blocks);

/// 1 + the largest N below 1024 among the names that begin with `prefix`N and a dot; 0 when there is none.
int64_t count_numbered(const TensorFile& file, const std::string& prefix);

/// The parts of names that wrappers of training code add, each once, as without_wrappers removes them: _orig_mod.
/// (torch.compile), _fsdp_wrapped_module. (FSDP) and _checkpoint_wrapped_module. (activation checkpointing) anywhere,
/// module. (DataParallel) at the beginning of all names.
std::vector<std::string> wrappers_of(const TensorFile& file);

/// The tensors under their names without those parts. Throws Error when two names become one.
TensorFile without_wrappers(const TensorFile& file);

/// The tensors without wrappers and without the prefixes that single-file checkpoints add: those under
/// model.diffusion_model. when there are any (the rest belongs to other networks), else all of them. Then any of
/// model., module., diffusion_model. and transformer. that all names share is removed, repeatedly.
TensorFile unwrapped(const TensorFile& file);

/// The tensors of a network of class WanTransformer3DModel, UMT5EncoderModel, CLIPVisionModel, AutoencoderKLWan,
/// DiTTransformer2DModel or AutoencoderKL under canonical names, from any of its known layouts; tensors of other
/// classes are unchanged.
TensorFile canonical_tensors(const TensorFile& stored, const std::string& class_name);

/// From canonical names to those that GGUF files of such a network have: Wan's own, and llama.cpp's for UMT5. Empty for
/// other classes.
NameTable names_in_gguf(const TensorFile& canonical, const std::string& class_name);

/// True when the transformer in `file` has the names of Wan's own code, which differ from diffusers' in every block.
bool has_original_wan_names(const TensorFile& file);

/// The same tensors under the table's names; names that it lacks are kept. Two names may become one only when their
/// tensors are equal (tied weights); otherwise throws Error naming the file and both.
TensorFile renamed(const TensorFile& file, const NameTable& table);

}  // namespace tessera
