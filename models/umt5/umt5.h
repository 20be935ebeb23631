#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "models/layer_stream.h"
#include "models/layers.h"

namespace tessera {

/// Sizes of a UMT5 encoder, with the keys and defaults of transformers' config.json.
struct Umt5Config {
  int64_t vocab_size = 0;
  int64_t d_model = 0;
  int64_t d_kv = 0;  ///< width of one head; num_heads * d_kv may differ from d_model
  int64_t d_ff = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t relative_attention_num_buckets = 32;
  int64_t relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;

  /// Throws Error naming the file and key when a size is missing, not positive or of the wrong type, or when
  /// feed_forward_proj is anything but "gated-gelu" (every published UMT5 has it).
  static Umt5Config from_json(const JsonConfig& json);
};

/// Self-attention whose scores are q k^T + b[head, bucket(key - query)], without the usual 1/sqrt(d_kv).
struct Umt5Attention {
  Linear q, k, v, o;
  at::Tensor relative_attention_bias;  ///< [buckets, heads]
  int64_t heads = 0;

  void params(ParamList& out, const std::string& prefix, const Umt5Config& config);
  /// x: [B, L, d_model]; buckets: int64 [L, L]; hidden_keys: bool [B, 1, 1, L], true where a key must not be seen
  /// (undefined: all are seen). Scores and softmax in float32; returns [B, L, d_model] in x's dtype.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& buckets, const at::Tensor& hidden_keys) const;
};

/// wo(gelu(wi_0 x) * wi_1 x) with the tanh form of GELU.
struct Umt5FeedForward {
  Linear wi_0, wi_1, wo;

  void params(ParamList& out, const std::string& prefix, const Umt5Config& config);
  at::Tensor operator()(const at::Tensor& x) const;
};

/// One pre-normalized block: x + attention(norm x), then x + feed_forward(norm x).
struct Umt5Block {
  RmsNorm attention_norm, feed_forward_norm;
  Umt5Attention attention;
  Umt5FeedForward feed_forward;

  void params(ParamList& out, const std::string& prefix, const Umt5Config& config);
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& buckets, const at::Tensor& hidden_keys) const;
};

/// The encoder of UMT5 (arXiv:2304.09151), the text encoder of Wan: T5 v1.1 with a relative position bias of its own in
/// every layer. Parameter names are those of transformers' UMT5EncoderModel; the token table is `shared.weight`.
///
/// Freshly initialized weights follow T5, except the position bias: heads in turn lean to the previous token, to the
/// next, to near tokens, and to none, because with a bias near zero an untrained encoder is blind to word order.
class Umt5Encoder {
 public:
  explicit Umt5Encoder(const Umt5Config& config);

  void params(ParamList& out, const std::string& prefix = "");

  /// ids: int64 [B, L] with 0 <= id < vocab_size; mask: [B, L], non-zero where a token is real (undefined: all are).
  /// Returns [B, L, d_model] in `dtype` (unset: the dtype of the token table). Rows at padding are computed too; see
  /// zero_padding. Padding beyond a row's tokens does not change the rows of its tokens.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& mask,
                     std::optional<at::ScalarType> dtype = std::nullopt) const;

  const Umt5Config& config() const { return config_; }
  /// The parameters of each block, and where they come from when a GPU does not hold all of them.
  std::vector<ParamList> layers();
  void stream_from(std::unique_ptr<LayerStream> stream) { stream_ = std::move(stream); }

 private:
  Umt5Config config_;
  std::unique_ptr<LayerStream> stream_;  // null: all weights are where they are used
  at::Tensor shared_;                    // [vocab_size, d_model]
  std::vector<Umt5Block> blocks_;
  RmsNorm final_norm_;
};

/// Sets the rows of padding tokens to zero, as Wan does before its transformer sees them.
/// states: [B, L, D]; mask: [B, L], non-zero where a token is real.
at::Tensor zero_padding(const at::Tensor& states, const at::Tensor& mask);

/// Bucket of every key relative to every query, int64 [length, length] on the CPU, indexed [query, key]: half of the
/// buckets for keys at or before the query, half for keys after it; in each half the first half holds one distance
/// each, the rest grow logarithmically up to max_distance, beyond which all distances share the last.
/// Source: T5, arXiv:1910.10683, section 2.1. Evaluated in float32 like the reference, whose rounding decides ties.
at::Tensor umt5_position_buckets(int64_t length, int64_t buckets, int64_t max_distance);

}  // namespace tessera
