#include "models/attention/causal.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/size_limits.h"
#include "kernels/value_type.h"
#include "models/attention/linear.h"

namespace tessera {

CausalAttentionConfig CausalAttentionConfig::from_json(const JsonConfig& json) {
  CausalAttentionConfig config;
  const std::string kind = json.text("kind");
  const std::vector<AttentionKind> kinds = {AttentionKind::kSoftmax, AttentionKind::kLinear, AttentionKind::kFocused,
                                            AttentionKind::kMhla};
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](AttentionKind k) { return kind == name_of(k); });
  if (found == kinds.end()) json.fail("kind", "must be softmax, linear, focused or mhla");
  config.kind = *found;
  const bool focused = config.kind == AttentionKind::kFocused, mhla = config.kind == AttentionKind::kMhla;
  std::vector<std::string> known = {"kind"};
  if (focused || mhla) known.emplace_back("kernel_size");
  if (focused) known.emplace_back("focusing_factor");
  if (mhla) known.insert(known.end(), {"chunk", "gated"});
  json.reject_unknown(known);
  config.kernel = json.integer("kernel_size", config.kernel);
  if (config.kernel < 0 || config.kernel > limits::kKernel)
    json.fail("kernel_size", "must be 0 (no convolution) to " + std::to_string(limits::kKernel));
  config.focusing_factor = json.number("focusing_factor", config.focusing_factor);
  if (!(config.focusing_factor > 0)) json.fail("focusing_factor", "must be above 0");
  config.chunk = read_size(json, "chunk", limits::kGridSide, config.chunk);
  config.gated = json.boolean("gated", false);
  return config;
}

at::Tensor causal_linear_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t chunk) {
  const int64_t T = q.size(1), D = q.size(3), chunks = (T + chunk - 1) / chunk;
  const auto options = q.options().dtype(wide_type(q));
  const at::Tensor all = at::ones({chunks, chunks}, options);  // every earlier chunk counts the same
  const at::Tensor wide = v.to(wide_type(v));
  const at::Tensor sums = causal_mhla(rotary(q, D, 0), rotary(k, D, 0), wide, all, chunk, 1.0);
  const at::Tensor ones = at::ones({q.size(0), T, q.size(2), 1}, options);
  const at::Tensor normalizer = causal_mhla(q, k, ones, all, chunk, 1.0);  // [B, T, H, 1]
  return (sums / (normalizer + kLinearNormalizerEps)).to(v.scalar_type());
}

at::Tensor causal_depthwise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const auto dtype = x.scalar_type();
  const at::Tensor padded = at::constant_pad_nd(x.mT(), {weight.size(-1) - 1, 0});  // [B, C, kernel - 1 + T]
  const int64_t one = 1, none = 0;
  return at::conv1d(padded, weight.to(dtype), bias.to(dtype), /*stride=*/at::IntArrayRef(one),
                    /*padding=*/at::IntArrayRef(none), /*dilation=*/at::IntArrayRef(one), x.size(2))
      .mT();
}

CausalAttention::CausalAttention(const CausalAttentionConfig& config, int64_t heads, int64_t head_dim, int64_t length)
    : config_(config), heads_(heads), head_dim_(head_dim) {
  TORCH_CHECK(head_dim % 2 == 0, "CausalAttention: heads of ", head_dim, " channels have no pairs to rotate");
  if (config.kind != AttentionKind::kMhla) return;
  CausalMhlaConfig mhla;
  mhla.hidden_size = heads * head_dim;
  mhla.heads = heads;
  mhla.expand_k = 1.0;
  mhla.feature_map = FeatureMap::kRelu;
  mhla.chunk = config.chunk;
  mhla.most_chunks = (length + config.chunk - 1) / config.chunk;
  mhla.output_gate = config.gated;
  mhla.conv_size = config.kernel;
  mhla_ = std::make_unique<CausalMhlaLayer>(mhla);
}

void CausalAttention::params(ParamList& out, const std::string& prefix) {
  if (mhla_) return mhla_->params(out, prefix);
  const int64_t C = heads_ * head_dim_;
  q_.params(out, prefix + "q.", C, C, true, xavier(C, C));
  k_.params(out, prefix + "k.", C, C, true, xavier(C, C));
  v_.params(out, prefix + "v.", C, C, true, xavier(C, C));
  o_.params(out, prefix + "o.", C, C, true, xavier(C, C));
  if (config_.kind != AttentionKind::kFocused) return;
  out.add_float(prefix + "scale", scale_, {1, 1, C}, Init::zeros());
  if (config_.kernel == 0) return;
  out.add(prefix + "dwc.weight", filters_, {head_dim_, 1, config_.kernel},
          Init::uniform(1.0 / std::sqrt(static_cast<double>(config_.kernel))));
  out.add(prefix + "dwc.bias", filter_bias_, {head_dim_}, Init::zeros());
}

at::Tensor CausalAttention::linear(const at::Tensor& x) const {
  const bool focused = config_.kind == AttentionKind::kFocused;
  const auto features = [&](const at::Tensor& t) {
    const at::Tensor y =
        focused ? focus(t, scale_.flatten(), config_.focusing_factor) : at::relu(t.to(wide_type(t))) + kFeatureEps;
    return y.unflatten(-1, {heads_, head_dim_});
  };
  const at::Tensor v = v_(x);
  const at::Tensor out =
      causal_linear_attention(features(q_(x)), features(k_(x)), v.unflatten(-1, {heads_, head_dim_}), config_.chunk)
          .flatten(2);
  if (!focused || config_.kernel == 0) return out;
  return out + causal_depthwise(v, filters_.repeat({heads_, 1, 1}), filter_bias_.repeat({heads_}));
}

at::Tensor CausalAttention::operator()(const at::Tensor& x) const {
  if (mhla_) return (*mhla_)(x);
  if (config_.kind != AttentionKind::kSoftmax) return o_(linear(x));
  const auto split = [&](const at::Tensor& t) { return t.unflatten(-1, {heads_, head_dim_}); };
  const auto turned = [&](const at::Tensor& t) { return rotary(split(t), head_dim_, 0).transpose(1, 2); };
  const at::Tensor out = at::scaled_dot_product_attention(turned(q_(x)), turned(k_(x)), split(v_(x)).transpose(1, 2),
                                                          {}, 0.0, /*is_causal=*/true);
  return o_(out.transpose(1, 2).flatten(2));
}

}  // namespace tessera
