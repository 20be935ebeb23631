#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "models/attention/rope.h"
#include "models/attention/token_grid.h"
#include "models/layers.h"

namespace tessera {

/// What the self-attention of a layer computes.
enum class AttentionKind { kSoftmax, kMhla, kLinear, kFocused };

/// The denominator of MHLA; see docs/architecture.md, "MHLA".
enum class Normalizer {
  kProducts,  ///< mixes q_j[p] . z_j over blocks at each position p: the released code
  kSums,      ///< q . (mixed z): the paper's formula
  kNone       ///< no denominator: `norm_output: false` of the released code
};

/// Initial mixing weight as a function of the distance between two block centers.
enum class MixingTransform { kLinear, kCos, kExp, kGaussian, kLocal };

/// The names of these in configs, e.g. "mhla", "sums", "linear".
const char* name_of(AttentionKind kind);
/// What a profile calls self-attention of that kind, e.g. "self-attention mhla".
const char* scope_of(AttentionKind kind);
const char* name_of(Normalizer normalizer);
const char* name_of(MixingTransform transform);

/// The `attention` object of a transformer's config.json:
/// {"kind": "mhla", "block_layout": [5, 2, 2], "block_tokens": [1, 4, 4], "gated": false, "lepe": true,
///  "normalizer": "sums", "transform": "linear", "softmax_layers": [0, 3]}.
/// {"kind": "linear"} and {"kind": "focused", "focusing_factor": 3, "kernel_size": 5} (FLatten) need no blocks.
/// `softmax_layers` lists the layers that keep softmax attention in a model of another kind.
struct AttentionConfig {
  AttentionKind kind = AttentionKind::kSoftmax;
  Extent3 block_layout{1, 1, 1};        ///< blocks along time, height, width in training: M = their product
  std::optional<Extent3> block_tokens;  ///< tokens of a block; absent: the grid divided by block_layout, rounded up
  bool gated = false;                   ///< output times SiLU of a linear map of the layer's input
  bool lepe = false;
  Normalizer normalizer = Normalizer::kSums;
  MixingTransform transform = MixingTransform::kLinear;
  bool clamp_mixing = false;   ///< a mixing weight below 0 counts as 0, so that no normalizer can change its sign
  bool qk_norm = false;        ///< image form of MHLA: RMS norm of q and k over all channels
  double focusing_factor = 3;  ///< power of FLatten's map
  int64_t kernel_size = 5;     ///< of FLatten's convolution of v, odd; 0: no convolution
  int64_t lepe_kernel = 3;     ///< of the image form's convolution of v, odd; the classifiers have 5
  std::vector<int64_t> softmax_layers;

  /// Throws Error naming the file and key for unknown keys, wrong types and values.
  static AttentionConfig from_json(const JsonConfig& json);
  /// What from_json reads back.
  nlohmann::ordered_json to_json() const;
  /// Throws Error naming the file and key when softmax_layers names a layer that a model of `layers` does not have;
  /// `json` is the object it was read from.
  void check_layers(const JsonConfig& json, int64_t layers) const;
  AttentionKind kind_of_layer(int64_t layer) const;
};

/// How often MHLA's normalizer was in trouble, for each row of the batch, summed over layers on the model's device.
/// Reading it (`item()`) is the caller's choice; counting adds no synchronization. Slots are undefined until the first
/// use.
struct NormalizerStats {
  at::Tensor values;     ///< int64 [B]: normalizers seen
  at::Tensor near_zero;  ///< [B]: those below 1e-6 in magnitude, which were clamped away from zero, sign kept
  at::Tensor negative;   ///< [B]: those below zero

  /// `normalizer` has the batch on its second axis: [M, B, ...].
  void count(const at::Tensor& normalizer);
};

/// Normalizers closer to zero are clamped and counted.
constexpr double kLeastNormalizer = 1e-6;

/// The normalizer, at least 1e-6 away from zero with its sign kept; a larger magnitude passes bit for bit.
at::Tensor guard_normalizer(const at::Tensor& normalizer);

class AttentionProbe;  // models/attention/probe.h

/// What a self-attention layer needs besides its tokens; one per forward pass.
struct AttentionInput {
  Extent3 grid;                      ///< tokens along time, height, width; token order is raster, time slowest
  Rope rope;                         ///< make_rope(grid, head_dim)
  NormalizerStats* stats = nullptr;  ///< counts MHLA's normalizers when given
  AttentionProbe* probe = nullptr;   ///< sees the layer's attention when given
};

/// Query, key, value and output projections with RMS-normed q and k (over all heads), under diffusers' names:
/// to_q, to_k, to_v, to_out.0, norm_q, norm_k.
struct AttentionProjections {
  Linear to_q, to_k, to_v, to_out;
  RmsNorm norm_q, norm_k;

  AttentionProjections(int64_t channels, double eps);
  void params(ParamList& out, const std::string& prefix);

 private:
  int64_t channels_;
};

/// Self-attention over a grid of tokens: x [B, N, C] in raster order -> [B, N, C] in x's dtype.
class SelfAttention {
 public:
  virtual ~SelfAttention() = default;
  virtual void params(ParamList& out, const std::string& prefix) = 0;
  virtual at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const = 0;
};

std::unique_ptr<SelfAttention> make_self_attention(AttentionKind kind, const AttentionConfig& config, int64_t heads,
                                                   int64_t head_dim, double eps);

}  // namespace tessera
