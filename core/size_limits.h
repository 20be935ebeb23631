#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/json_config.h"

namespace tessera {

/// The largest sizes that a file may ask for: far beyond any published model, and small enough that a file which lies
/// costs little memory and time. Every reader checks them before it allocates. (JSON and YAML nesting: kMaxNesting in
/// core/located_json.h.)
namespace limits {

// Configs of networks. Any product of the sizes of one tensor fits in 64 bits.
inline constexpr int64_t kLayers = 1024;            ///< blocks of a transformer
inline constexpr int64_t kHeads = 1024;             ///< of an attention layer
inline constexpr int64_t kWidth = 131'072;          ///< of a transformer, its feed-forward layers and embeddings
inline constexpr int64_t kChannels = 65'536;        ///< of a convolution, or of latents
inline constexpr int64_t kPatch = 64;               ///< along one axis
inline constexpr int64_t kKernel = 63;              ///< side of a convolution's kernel
inline constexpr int64_t kGridSide = 65'536;        ///< tokens along one axis
inline constexpr int64_t kGridTokens = 16'777'216;  ///< tokens of a stored position embedding
inline constexpr int64_t kMixedBlocks = 16'384;     ///< blocks of MHLA, whose square is the size of a mixing matrix
inline constexpr int64_t kLatentSide = 2048;        ///< latent cells along one side of a picture
inline constexpr int64_t kClasses = 1'048'576;      ///< of a class-conditional model
inline constexpr int64_t kLevels = 16;              ///< resolutions of an autoencoder
inline constexpr int64_t kLevelBlocks = 64;         ///< residual blocks at each of them
inline constexpr int64_t kMultiplier = 1024;        ///< of an autoencoder's base width
inline constexpr int64_t kVocabulary = 16'777'216;  ///< rows of a text encoder's table
inline constexpr int64_t kDistances = 4096;         ///< buckets, and the largest distance, of relative positions
inline constexpr int64_t kTrainSteps = 100'000;     ///< timesteps of a diffusion process

// Files.
inline constexpr uint64_t kConfigBytes = 32 << 20;     ///< of a JSON file: the index of a sharded model is the largest
inline constexpr int64_t kConfigValues = 1'000'000;    ///< values in it
inline constexpr uint64_t kYamlBytes = 4 << 20;        ///< of a training config
inline constexpr uint64_t kTokenizerBytes = 64 << 20;  ///< of a spiece.model
inline constexpr uint64_t kHeaderBytes = 100'000'000;  ///< of safetensors: the limit of the reference implementation
inline constexpr int64_t kHeaderTensors = 262'144;     ///< in one safetensors file
inline constexpr size_t kDimensions = 64;              ///< of a tensor: what a TensorIterator can hold
inline constexpr uint64_t kArrayBytes = uint64_t{2} << 30;  ///< of a NumPy array that is read as a whole
inline constexpr int64_t kPickleWork = 6'000'000;           ///< values that a pickle pushes and stores
inline constexpr int64_t kPickleValues = 10'000'000;        ///< values in its tree, shared ones each time they occur
inline constexpr int64_t kPickleDepth = 100;                ///< nested levels of that tree

}  // namespace limits

/// The whole number `key`, from 1 to `most`. Throws Error naming file and key when it is absent or anything else.
int64_t read_size(const JsonConfig& json, const std::string& key, int64_t most);
/// The same; absent: `fallback`.
int64_t read_size(const JsonConfig& json, const std::string& key, int64_t most, int64_t fallback);
/// A list of 1 to `most_items` such numbers; absent: `fallback`.
std::vector<int64_t> read_sizes(const JsonConfig& json, const std::string& key, int64_t most, int64_t most_items,
                                std::vector<int64_t> fallback);

/// The bytes of a regular file of at most `most` bytes. Throws Error naming it when it cannot be read or is larger,
/// saying that `wanted`, e.g. "a config", is never so large.
std::string read_small_file(const std::filesystem::path& path, uint64_t most, const std::string& wanted);

}  // namespace tessera
