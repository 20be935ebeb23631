#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <vector>

#include "core/params.h"
#include "models/attention/head_features.h"
#include "models/layers.h"

namespace tessera {

/// x [B, T, H, F], the first `dim` channels of each head turned by the positions first, first + 1, ...: their two
/// halves are a pair's coordinates (rotary positions, base 10000). Returns the same shape and dtype.
at::Tensor rotary(const at::Tensor& x, int64_t dim, int64_t first);

/// Causal MHLA, as published for language (arXiv:2601.07832, naive_chunk_simple_mhla_fixed). Tokens fall into chunks of
/// `chunk`; with S_j = sum over chunk j of k^T v and the mixing matrix M, a token of chunk i gives
/// scale * (sum_{j<i} M_ij q S_j + M_ii * (q k^T, masked to earlier tokens of the chunk and itself) v). No denominator.
/// q, k [B, T, H, K], v [B, T, H, V], mixing [>= chunks, >= chunks] (its upper triangle is not read); returns
/// [B, T, H, V] in v's dtype; sums are float32 (float64 for float64). The last chunk may be short. Throws c10::Error
/// when the chunks outnumber the rows of `mixing`.
at::Tensor causal_mhla(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mixing,
                       int64_t chunk, double scale);

/// The same a token at a time. Within a chunk neither memory nor work grows from token to token; a finished chunk
/// leaves one K x V summary a head.
class CausalMhlaState {
 public:
  CausalMhlaState(at::Tensor mixing, int64_t chunk, double scale);
  /// q, k [B, H, K], v [B, H, V] of the next token -> [B, H, V] in v's dtype, what causal_mhla gives at its place.
  /// Throws c10::Error when a new chunk is one more than the rows of `mixing`.
  at::Tensor step(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
  int64_t tokens() const { return tokens_; }  ///< seen so far

 private:
  void begin_chunk(const at::Tensor& like);

  at::Tensor mixing_;
  int64_t chunk_;
  double scale_;
  int64_t tokens_ = 0;
  std::vector<at::Tensor> finished_;  // summaries of earlier chunks, [B, H, K, V]
  at::Tensor earlier_, current_;      // sum_{j<i} M_ij S_j, and S_i so far

  friend class CausalMhlaLayer;
  std::array<at::Tensor, 3> recent_;  // what the layer's convolutions of q, k and v saw last
};

struct CausalMhlaConfig {
  int64_t hidden_size = 0;  ///< C, width of the layer's input and output
  int64_t heads = 0;        ///< divides the width of values, and that of keys into pairs
  double expand_k = 0.5;    ///< width of all keys over hidden_size
  double expand_v = 1.0;    ///< width of all values over hidden_size
  FeatureMap feature_map = FeatureMap::kElu;
  int64_t chunk = 64;        ///< tokens
  int64_t most_chunks = 32;  ///< rows of the mixing matrix; a sequence has at most chunk * most_chunks tokens
  double norm_eps = 1e-5;
  int64_t kv_heads = 0;     ///< heads of keys and values, each shared by heads / kv_heads queries; 0: as many as heads
  bool output_gate = true;  ///< SiLU of g_proj times the normed heads
  bool norm_weight = true;  ///< the output norm has a weight (elementwise_affine)
  int64_t conv_size = 0;    ///< kernel of the short convolutions of q, k and v over time; 0: none
  bool conv_bias = false;
};

/// A token mixer for language models: projections without bias, short convolutions over time (optional), feature map,
/// half-split rotary positions (base 10000) on the first channels of the features, as many as a head has,
/// causal_mhla with scale 1 / sqrt(features of a head), RMS norm of each head times SiLU of the gate (optional), output
/// projection. The mixing matrix is clamped to [1e-5, 1] at every use. Runs in x's dtype on x's device; weights may be
/// float32 whatever that is. With fewer key-value heads, query head h reads key-value head h / (heads / kv_heads).
///
/// Weights, K and V the widths of all queries and values: q_proj.weight [K, C], g_proj.weight [V, C], o_proj.weight
/// [C, V]; k_proj.weight and v_proj.weight likewise, but of kv_heads heads; g_norm_swish_gate.weight (g_norm.weight
/// without a gate) [V / heads]; q_conv1d.weight, k_conv1d.weight, v_conv1d.weight [width, 1, conv_size]; those of
/// feature_map_q. and feature_map_k. (see HeadFeatures); mixing_matrix [most_chunks, most_chunks, 1, 1, 1, 1]. Fill
/// them by bind() from a file or by initialize():
///
///     CausalMhlaLayer layer({.hidden_size = 64, .heads = 4, .chunk = 16, .most_chunks = 8});
///     ParamList params;
///     layer.params(params);
///     bind(params, read_safetensors("layer.safetensors"), at::kFloat, at::kCPU);  // weights/bind.h
///     const at::Tensor y = layer(at::randn({1, 100, 64}));  // [1, 100, 64]
///     CausalMhlaState state = layer.begin();                // or token by token
///     const at::Tensor first = layer.step(at::randn({1, 64}), state);  // [1, 64]
///
/// A list points into its layer, so the layer must stay where it is while the list is in use.
class CausalMhlaLayer {
 public:
  /// Throws c10::Error when keys or values do not divide into heads, or heads into groups.
  explicit CausalMhlaLayer(const CausalMhlaConfig& config);
  /// Lists the weights, each name after `prefix`.
  void params(ParamList& out, const std::string& prefix = "");

  /// x [B, T, C] -> [B, T, C]. Throws c10::Error when T exceeds chunk * most_chunks.
  at::Tensor operator()(const at::Tensor& x) const;

  /// For step(): no token seen yet.
  CausalMhlaState begin() const;
  /// x [B, C], the next token -> [B, C], what the layer gives at that place of the whole sequence.
  at::Tensor step(const at::Tensor& x, CausalMhlaState& state) const;

 private:
  struct Heads {
    at::Tensor q, k, v;  // [B, T, H, D]
  };
  Heads heads_of(const at::Tensor& x, int64_t first, std::array<at::Tensor, 3>& recent) const;
  at::Tensor output(const at::Tensor& heads, const at::Tensor& x) const;
  at::Tensor mixing() const;
  double scale() const;

  CausalMhlaConfig config_;
  int64_t key_dim_, value_dim_;  // of all heads of queries, and of values if they had as many
  Linear q_, k_, v_, g_, o_;
  CausalConvolution q_conv_, k_conv_, v_conv_;
  HeadFeatures q_features_, k_features_;
  RmsNorm norm_;
  at::Tensor mixing_;
};

}  // namespace tessera
