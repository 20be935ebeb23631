#pragma once

#include <filesystem>

#include "models/wan/tiny_decoder.h"

namespace tessera {

/// A tiny decoder with its weights in float32: a file of TAEHV such as taew2_1.safetensors or taew2_1.pth, whose
/// encoder is passed over. Throws Error for a file of another kind, for TAEHV's larger "super" form, and for one that
/// decodes latents of another number of channels than `z_dim`.
TinyDecoder load_tiny_decoder(const std::filesystem::path& path, int64_t z_dim, at::Device device);

}  // namespace tessera
