#pragma once

#include <ATen/core/Tensor.h>
#include <tessera/tessera.h>

#include <memory>
#include <string>

namespace tessera::api {

/// A layer of causal MHLA, as published for language.
struct CausalMhlaConfig {
  std::int64_t hidden_size = 0, heads = 0;
  double expand_k = 0.5, expand_v = 1.0;  ///< width of keys and values over hidden_size
  /// Of q and k, the published ones: elu(x) + 1; relu(x); x; relu(W x); (W1 x + b1) * (W2 x + b2); Hedgehog; DPFP.
  enum class FeatureMap { kElu, kRelu, kIdentity, kT2r, kElementwiseProduct, kHedgehog, kDpfp };
  FeatureMap feature_map = FeatureMap::kElu;
  std::int64_t chunk = 64;        ///< tokens
  std::int64_t most_chunks = 32;  ///< rows of the mixing matrix
  double norm_eps = 1e-5;
  std::int64_t kv_heads = 0;   ///< heads of keys and values (grouped queries); 0: as many as heads
  bool output_gate = true;     ///< SiLU of g_proj times the normed heads
  bool norm_weight = true;     ///< whether the output norm has a weight (elementwise_affine)
  std::int64_t conv_size = 0;  ///< kernel of the short convolutions of q, k and v; 0: none
  bool conv_bias = false;
};

/// Causal multi-head linear attention with its projections, rotary positions, output norm and gate
/// (arXiv:2601.07832). Tokens fall into chunks; a token sees its own chunk up to itself by masked attention, and
/// earlier chunks by their summaries, which a learned lower-triangular matrix mixes. Throws Error; c10::Error for
/// tensors of the wrong shape.
class TESSERA_PUBLIC CausalMhla {
 public:
  /// Reads the tensors `prefix` + q_proj.weight, k_proj.weight, v_proj.weight, g_proj.weight, o_proj.weight,
  /// g_norm_swish_gate.weight and mixing_matrix ([chunks, chunks, 1, 1, 1, 1]) of a safetensors file, as float32.
  /// By the config also: g_norm.weight in place of the gate's two; q_conv1d, k_conv1d and v_conv1d (.weight, .bias);
  /// feature_map_q and feature_map_k (.layer, .layer1, .layer2).
  CausalMhla(const CausalMhlaConfig& config, const std::string& file, const std::string& prefix = "");
  ~CausalMhla();
  CausalMhla(CausalMhla&&) noexcept;
  CausalMhla& operator=(CausalMhla&&) noexcept;

  /// A whole sequence: x [B, T, C] -> [B, T, C], T at most chunk * most_chunks.
  at::Tensor operator()(const at::Tensor& x) const;

  /// A sequence that comes a token at a time. Work for a token does not depend on how many came before in its chunk;
  /// a finished chunk leaves one summary. The layer must outlive it.
  class TESSERA_PUBLIC Sequence {
   public:
    ~Sequence();
    Sequence(Sequence&&) noexcept;
    /// x [B, C], the next token -> [B, C], what the whole sequence gives at its place.
    at::Tensor step(const at::Tensor& x);

   private:
    friend class CausalMhla;
    struct State;
    explicit Sequence(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };
  Sequence begin() const;

 private:
  struct Layer;
  std::unique_ptr<Layer> layer_;
};

}  // namespace tessera::api
