#include "models/wan/transformer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/profile.h"
#include "core/size_limits.h"
#include "kernels/activation.h"
#include "models/attention/rope.h"
#include "models/attention/softmax.h"
#include "models/recomputed.h"

namespace tessera {
namespace {

/// SiLU of [B, C] a row at a time: the last few values of a tensor take a scalar exponential that rounds differently,
/// and which ones are last must not depend on the other rows.
at::Tensor silu_of_rows(const at::Tensor& x) {
  std::vector<at::Tensor> rows;
  for (const at::Tensor& row : x.unbind(0)) rows.push_back(at::silu(row));
  return at::stack(rows);
}

}  // namespace

WanTransformerConfig WanTransformerConfig::from_json(const JsonConfig& json) {
  for (const char* key : {"image_dim", "added_kv_proj_dim", "pos_embed_seq_len"})
    if (json.has(key)) json.fail(key, "belongs to an image-to-video model; only text-to-video models are supported");
  if (json.has("qk_norm") && json.text("qk_norm") != "rms_norm_across_heads")
    json.fail("qk_norm", "must be rms_norm_across_heads");
  WanTransformerConfig config;
  const auto size = [&](const char* key, int64_t most, int64_t fallback) {
    return read_size(json, key, most, fallback);
  };
  config.patch_size = read_extent(json, "patch_size", config.patch_size);
  config.num_attention_heads = size("num_attention_heads", limits::kHeads, config.num_attention_heads);
  config.attention_head_dim = size("attention_head_dim", limits::kWidth, config.attention_head_dim);
  config.in_channels = size("in_channels", limits::kChannels, config.in_channels);
  config.out_channels = size("out_channels", limits::kChannels, config.in_channels);
  config.text_dim = size("text_dim", limits::kWidth, config.text_dim);
  config.freq_dim = size("freq_dim", limits::kWidth, config.freq_dim);
  config.ffn_dim = size("ffn_dim", limits::kWidth, config.ffn_dim);
  config.num_layers = size("num_layers", limits::kLayers, config.num_layers);
  if (config.channels() > limits::kWidth)
    json.fail("attention_head_dim", "times num_attention_heads must be at most " + std::to_string(limits::kWidth));
  if (*std::max_element(config.patch_size.begin(), config.patch_size.end()) > limits::kPatch)
    json.fail("patch_size", "must hold numbers up to " + std::to_string(limits::kPatch));
  config.cross_attn_norm = json.boolean("cross_attn_norm", config.cross_attn_norm);
  config.eps = json.number("eps", config.eps);
  if (config.attention_head_dim % 2 != 0) json.fail("attention_head_dim", "must be even");
  if (config.freq_dim % 2 != 0) json.fail("freq_dim", "must be even");
  if (json.has("attention")) {
    config.attention = AttentionConfig::from_json(json.object("attention"));
    config.attention.check_layers(json.object("attention"), config.num_layers);
  }
  if (json.has("position_embedding")) config.position_embedding = read_extent(json, "position_embedding");
  if (config.position_embedding && volume(*config.position_embedding) > limits::kGridTokens)
    json.fail("position_embedding", "must have at most " + std::to_string(limits::kGridTokens) + " tokens");
  return config;
}

at::Tensor WanCrossAttention::operator()(const at::Tensor& x, const at::Tensor& context) const {
  const auto& p = projections;
  return p.to_out(softmax_attention(p.norm_q.wide(p.to_q(x)), p.norm_k.wide(p.to_k(context)), p.to_v(context), heads));
}

WanBlock::WanBlock(const WanTransformerConfig& config, int64_t layer)
    : attn1(make_self_attention(config.attention.kind_of_layer(layer), config.attention, config.num_attention_heads,
                                config.attention_head_dim, config.eps)),
      attn2{config.num_attention_heads, AttentionProjections(config.channels(), config.eps)},
      eps_(config.eps),
      cross_attn_norm_(config.cross_attn_norm),
      attention_scope_(scope_of(config.attention.kind_of_layer(layer))) {
  norm2.eps = config.eps;
}

void WanBlock::params(ParamList& out, const std::string& prefix, const WanTransformerConfig& config) {
  const int64_t C = config.channels();
  attn1->params(out, prefix + "attn1.");
  attn2.projections.params(out, prefix + "attn2.");
  if (cross_attn_norm_) norm2.params(out, prefix + "norm2.", C);
  ffn_in.params(out, prefix + "ffn.net.0.proj.", C, config.ffn_dim, true, xavier(C, config.ffn_dim));
  ffn_out.params(out, prefix + "ffn.net.2.", config.ffn_dim, C, true, xavier(C, config.ffn_dim));
  out.add_float(prefix + "scale_shift_table", scale_shift_table, {1, 6, C}, Init::zeros());
}

at::Tensor WanBlock::operator()(const at::Tensor& x, const at::Tensor& context, const at::Tensor& modulation,
                                const AttentionInput& input) const {
  const auto m = (scale_shift_table + modulation).to(x.scalar_type()).chunk(6, 1);  // each [B, 1, C]
  at::Tensor h;
  {
    const ProfileScope scope(attention_scope_);
    h = at::addcmul(x, (*attn1)(modulated_norm(x, m[0], m[1], eps_), input), m[2]);
  }
  {
    const ProfileScope scope("cross-attention");
    h = h + attn2(cross_attn_norm_ ? norm2(h) : h, context);
  }
  const ProfileScope scope("feed-forward");
  const at::Tensor hidden = gelu_tanh(ffn_in(modulated_norm(h, m[3], m[4], eps_)));
  return at::addcmul(h, ffn_out(hidden), m[5]);
}

WanTransformer::WanTransformer(WanTransformerConfig config) : config_(std::move(config)) {
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) blocks_.emplace_back(config_, layer);
}

void WanTransformer::params(ParamList& out, const std::string& prefix) {
  const int64_t C = config_.channels();
  const auto [pt, ph, pw] = config_.patch_size;
  const int64_t patch_in = config_.in_channels * pt * ph * pw;
  out.add(prefix + "patch_embedding.weight", patch_weight_, {C, config_.in_channels, pt, ph, pw}, xavier(patch_in, C));
  out.add(prefix + "patch_embedding.bias", patch_bias_, {C}, Init::zeros());
  if (const auto& grid = config_.position_embedding)
    out.add_float(prefix + "position_embedding", position_embedding_, {1, C, (*grid)[0], (*grid)[1], (*grid)[2]},
                  Init::normal(0.02));
  const std::string condition = prefix + "condition_embedder.";
  time_in_.float_params(out, condition + "time_embedder.linear_1.", config_.freq_dim, C, xavier(config_.freq_dim, C));
  time_out_.float_params(out, condition + "time_embedder.linear_2.", C, C, xavier(C, C));
  time_proj_.params(out, condition + "time_proj.", C, 6 * C, true, Init::zeros());
  text_in_.params(out, condition + "text_embedder.linear_1.", config_.text_dim, C, true, xavier(config_.text_dim, C));
  text_out_.params(out, condition + "text_embedder.linear_2.", C, C, true, xavier(C, C));
  for (size_t layer = 0; layer < blocks_.size(); ++layer)
    blocks_[layer].params(out, prefix + "blocks." + std::to_string(layer) + ".", config_);
  proj_out_.params(out, prefix + "proj_out.", C, config_.out_channels * pt * ph * pw, true, Init::zeros());
  out.add_float(prefix + "scale_shift_table", scale_shift_table_, {1, 2, C}, Init::zeros());
}

at::Tensor WanTransformer::operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context,
                                      NormalizerStats* stats, AttentionProbe* probe) const {
  const auto& patch = config_.patch_size;
  TORCH_CHECK(latents.dim() == 5 && latents.size(1) == config_.in_channels, "WanTransformer: want latents [B, ",
              config_.in_channels, ", T, H, W], got ", latents.sizes());
  for (int64_t axis = 0; axis < 3; ++axis)
    TORCH_CHECK(latents.size(axis + 2) > 0 && latents.size(axis + 2) % patch[axis] == 0, "WanTransformer: latents ",
                latents.sizes(), " do not divide into patches ", at::IntArrayRef(patch.data(), 3));
  TORCH_CHECK(timesteps.dim() == 1 && timesteps.size(0) == latents.size(0), "WanTransformer: want timesteps [",
              latents.size(0), "], got ", timesteps.sizes());
  TORCH_CHECK(context.dim() == 3 && context.size(0) == latents.size(0) && context.size(2) == config_.text_dim,
              "WanTransformer: want context [", latents.size(0), ", L, ", config_.text_dim, "], got ", context.sizes());
  const ProfileScope scope("transformer, outside of blocks");
  const auto dtype = latents.scalar_type();
  const Extent3 grid{latents.size(2) / patch[0], latents.size(3) / patch[1], latents.size(4) / patch[2]};

  const at::Tensor time = time_out_(silu_of_rows(time_in_(timestep_sinusoid(timesteps, config_.freq_dim))));  // [B, C]
  const at::Tensor modulation =
      time_proj_(silu_of_rows(time).to(time_proj_.weight.scalar_type())).to(at::kFloat).unflatten(1, {6, -1});
  const at::Tensor text = text_out_(gelu_tanh(text_in_(context.to(dtype))));
  const AttentionInput input{grid, make_rope(grid, config_.attention_head_dim, latents.device()), stats, probe};

  at::Tensor x = embed_patches(latents, grid);
  for (const WanBlock& block : blocks_)
    x = recompute_ ? recomputed([&block, input](const auto& in) { return block(in[0], in[1], in[2], input); },
                                {x, text, modulation})
                   : block(x, text, modulation, input);
  const auto head = (scale_shift_table_ + time.unsqueeze(1)).to(dtype).chunk(2, 1);
  return unpatchify(proj_out_(modulated_norm(x, head[0], head[1], config_.eps)), grid);
}

at::Tensor WanTransformer::embed_patches(const at::Tensor& latents, const Extent3& grid) const {
  const auto [t, h, w] = grid;
  const auto [pt, ph, pw] = config_.patch_size;
  const int64_t B = latents.size(0), in = latents.size(1);
  const at::Tensor patches = latents.reshape({B, in, t, pt, h, ph, w, pw})
                                 .permute({0, 2, 4, 6, 1, 3, 5, 7})
                                 .reshape({B, t * h * w, in * pt * ph * pw});
  const auto dtype = latents.scalar_type();
  const at::Tensor x = linear_rows(patches, patch_weight_.to(dtype).flatten(1), patch_bias_.to(dtype));  // [B, N, C]
  return position_embedding_.defined() ? x + position_for_grid(position_embedding_, grid).to(dtype) : x;
}

at::Tensor WanTransformer::unpatchify(const at::Tensor& tokens, const Extent3& grid) const {
  const auto [t, h, w] = grid;
  const auto [pt, ph, pw] = config_.patch_size;
  const int64_t B = tokens.size(0), out = config_.out_channels;
  return tokens.reshape({B, t, h, w, pt, ph, pw, out})
      .permute({0, 7, 1, 4, 2, 5, 3, 6})
      .reshape({B, out, t * pt, h * ph, w * pw});
}

at::Tensor position_for_grid(const at::Tensor& trained, const Extent3& grid) {
  const auto [t, h, w] = grid;
  at::Tensor position = trained.narrow(2, 0, std::min(t, trained.size(2)));
  if (position.size(2) != t || position.size(3) != h || position.size(4) != w)
    position = at::upsample_trilinear3d(position.to(at::kFloat), {t, h, w}, /*align_corners=*/false);
  return position.flatten(2).mT();
}

at::Tensor timestep_sinusoid(const at::Tensor& timesteps, int64_t size) {
  const int64_t half = size / 2;
  const at::Tensor t = timesteps.to(at::kDouble);
  const at::Tensor exponent = at::arange(half, t.options()) / static_cast<double>(half);
  const at::Tensor angles = at::outer(t, at::pow(10000.0, exponent.neg()));
  return at::cat({angles.cos(), angles.sin()}, -1).to(at::kFloat);
}

}  // namespace tessera
