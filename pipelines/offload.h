#pragma once

#include <cstdint>
#include <string>

namespace tessera {

/// What a part of a model takes of a GPU's memory, in bytes.
struct PartBytes {
  int64_t weights = 0;
  int64_t largest_layer = 0;   ///< of the layers that can be streamed; 0: none can
  int64_t outside_layers = 0;  ///< weights that stay when they are
  int64_t activations = 0;     ///< what the largest job takes besides weights

  /// Whole, and with its layers streamed: one that computes and one on its way.
  int64_t whole() const { return weights + activations; }
  int64_t streamed() const { return outside_layers + 2 * largest_layer + activations; }
};

struct ModelBytes {
  PartBytes text_encoder, transformer, autoencoder;
};

/// --offload: everything stays on the GPU; parts come in turn; their layers are streamed too; or the first of these
/// that fits.
enum class Offload { kNone, kParts, kLayers, kAuto };

/// Of the option's choices, which have the order of the enum. Throws Error for any other name.
Offload find_offload(const std::string& name);

/// How a model uses a GPU.
struct OffloadPlan {
  bool in_turn = false;  ///< only one part at a time is on the GPU
  bool stream_text_encoder = false, stream_transformer = false;
  int64_t peak = 0;    ///< bytes, by the sizes that were given
  int64_t budget = 0;  ///< bytes that were free for it
  bool fits() const { return peak <= budget; }
};

/// `free` bytes of the GPU less kKeptFree are there to be used. kAuto: all parts stay if their weights and the largest
/// activations fit; else they come in turn, and a part that does not fit whole has its layers streamed. The other
/// policies do what they say, whether it fits or not.
OffloadPlan plan_offload(const ModelBytes& sizes, int64_t free, Offload policy);

/// What cuBLAS, cuDNN and gaps between tensors may take.
inline constexpr int64_t kKeptFree = int64_t{768} << 20;

/// "GPU memory: 10.9 GB of 23.2 GB free, everything stays on it", or what is done instead, and what to try when it does
/// not fit.
std::string offload_text(const OffloadPlan& plan);

}  // namespace tessera
