#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/params.h"
#include "models/layers.h"

namespace tessera {

/// Causal MHLA, as published for language (arXiv:2601.07832, naive_chunk_simple_mhla_fixed). Tokens fall into chunks of
/// `chunk`; with S_j = sum over chunk j of k^T v and the mixing matrix M, a token of chunk i gives
/// scale * (sum_{j<i} M_ij q S_j + M_ii * (q k^T, masked to earlier tokens of the chunk and itself) v). No denominator.
/// q, k [B, T, H, K], v [B, T, H, V], mixing [>= chunks, >= chunks] (its upper triangle is not read); returns
/// [B, T, H, V] in v's dtype; sums in wide_type. The last chunk may be short. Throws c10::Error when the chunks
/// outnumber the rows of `mixing`.
at::Tensor causal_mhla(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mixing,
                       int64_t chunk, double scale);

/// The same a token at a time: memory and work a token do not grow within a chunk, and a finished chunk leaves one
/// K x V summary a head.
class CausalMhlaState {
 public:
  CausalMhlaState(at::Tensor mixing, int64_t chunk, double scale);
  /// q, k [B, H, K], v [B, H, V] of the next token -> [B, H, V], what causal_mhla gives at its place.
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
};

/// Feature map of q and k.
enum class FeatureMap { kElu, kRelu };  ///< elu(x) + 1, and relu(x)

struct CausalMhlaConfig {
  int64_t hidden_size = 0, heads = 0;
  double expand_k = 0.5, expand_v = 1.0;  ///< width of keys and values over hidden_size
  FeatureMap feature_map = FeatureMap::kElu;
  int64_t chunk = 64;
  int64_t most_chunks = 32;  ///< rows of the mixing matrix
  double norm_eps = 1e-5;
};

/// The language layer around it: projections without bias, feature map, half-split rotary positions (base 10000),
/// causal MHLA with scale K^-0.5, RMS norm of each head times silu of the gate, output projection. The mixing matrix is
/// clamped to [1e-5, 1] at every use. Names: q_proj, k_proj, v_proj, g_proj, o_proj, g_norm_swish_gate, mixing_matrix
/// [chunks, chunks, 1, 1, 1, 1].
class CausalMhlaLayer {
 public:
  explicit CausalMhlaLayer(const CausalMhlaConfig& config);
  void params(ParamList& out, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x) const;  ///< x [B, T, C] -> [B, T, C]

  CausalMhlaState begin() const;                                       ///< for step
  at::Tensor step(const at::Tensor& x, CausalMhlaState& state) const;  ///< x [B, C], the next token -> [B, C]

 private:
  struct Heads {
    at::Tensor q, k, v;  // [B, T, H, D]
  };
  Heads heads_of(const at::Tensor& x, int64_t first) const;
  at::Tensor output(const at::Tensor& heads, const at::Tensor& x) const;
  at::Tensor mixing() const;

  CausalMhlaConfig config_;
  int64_t key_dim_, value_dim_;  // of all heads
  Linear q_, k_, v_, g_, o_;
  RmsNorm norm_;
  at::Tensor mixing_;
};

}  // namespace tessera
