#include "models/wan/transformer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/profile.h"
#include "core/size_limits.h"
#include "kernels/adaptive_norm.h"
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

constexpr int64_t kMostKeptBytes = int64_t{1} << 30, kBytesOfKeys = 8;  // of a key and a value at most

/// Keys [B, used, C] with the text's last row repeated up to [B, length, C].
WanCrossAttention::Keys repeated(WanCrossAttention::Keys keys, int64_t length) {
  const auto longer = [length](const at::Tensor& rows) {
    const int64_t used = rows.size(1);
    if (used == length) return rows;
    return at::cat({rows, rows.narrow(1, used - 1, 1).expand({-1, length - used, -1})}, 1);
  };
  keys.k = longer(keys.k);
  keys.v = longer(keys.v);
  return keys;
}

/// Whether a tensor kept from an earlier call is this one.
bool same(const at::Tensor& kept, const at::Tensor& now) {
  if (kept.defined() != now.defined()) return false;
  return !now.defined() ||
         (kept.sizes() == now.sizes() && kept.scalar_type() == now.scalar_type() && at::equal(kept, now));
}

/// The block, computed again in the backward pass.
at::Tensor recomputed_block(const WanBlock& block, const at::Tensor& x, const WanContext& context,
                            const at::Tensor& modulation, const AttentionInput& input) {
  std::vector<at::Tensor> flowing{x, modulation, context.text};
  if (context.image.defined()) flowing.push_back(context.image);
  const auto part = [&block, input](const std::vector<at::Tensor>& in) {
    const WanContext seen{in[2], in.size() > 3 ? in[3] : at::Tensor()};
    return block(in[0], block.attn2.keys(seen), in[1], input);
  };
  return recomputed(part, flowing);
}

/// q or k, rounded where the attention computes with rounded ones.
at::Tensor normed(const RmsNorm& norm, const at::Tensor& x, const at::Tensor& v, int64_t heads) {
  return rounds_queries(v, heads) ? norm(x) : norm.wide(x);
}

/// The keys of a transformer that takes the states of an image encoder.
void read_image_sizes(const JsonConfig& json, WanTransformerConfig& config) {
  if (json.has("image_dim") != json.has("added_kv_proj_dim"))
    json.fail(json.has("image_dim") ? "image_dim" : "added_kv_proj_dim",
              "wants both image_dim and added_kv_proj_dim, or neither");
  if (json.has("pos_embed_seq_len") && !json.has("image_dim"))
    json.fail("pos_embed_seq_len", "wants image_dim beside it");
  if (!json.has("image_dim")) return;
  config.image_dim = read_size(json, "image_dim", limits::kWidth, 0);
  if (json.integer("added_kv_proj_dim") != config.channels())
    json.fail("added_kv_proj_dim", "must be the transformer's width, " + std::to_string(config.channels()));
  if (json.has("pos_embed_seq_len"))
    config.image_positions = read_size(json, "pos_embed_seq_len", limits::kGridTokens, 0);
}

}  // namespace

WanTransformerConfig WanTransformerConfig::from_json(const JsonConfig& json) {
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
  read_image_sizes(json, config);
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

void WanCrossAttention::params(ParamList& out, const std::string& prefix, int64_t channels, bool with_image) {
  projections.params(out, prefix);
  if (!with_image) return;
  add_k_proj.params(out, prefix + "add_k_proj.", channels, channels, true, xavier(channels, channels));
  add_v_proj.params(out, prefix + "add_v_proj.", channels, channels, true, xavier(channels, channels));
  norm_added_k.params(out, prefix + "norm_added_k.", channels);
}

WanCrossAttention::Keys WanCrossAttention::keys(const WanContext& context) const {
  const auto& p = projections;
  const at::Tensor v = p.to_v(context.text);
  Keys keys{normed(p.norm_k, p.to_k(context.text), v, heads), v, {}, {}};
  if (!context.image.defined()) return keys;
  keys.image_v = add_v_proj(context.image);
  keys.image_k = normed(norm_added_k, add_k_proj(context.image), v, heads);
  return keys;
}

at::Tensor WanCrossAttention::operator()(const at::Tensor& x, const Keys& keys) const {
  const auto& p = projections;
  const at::Tensor q = normed(p.norm_q, p.to_q(x), keys.v, heads);
  const at::Tensor seen = softmax_attention(q, keys.k, keys.v, heads);
  if (!keys.image_k.defined()) return p.to_out(seen);
  return p.to_out(seen + softmax_attention(q, keys.image_k, keys.image_v, heads));
}

WanBlock::WanBlock(const WanTransformerConfig& config, int64_t layer)
    : attn1(make_self_attention(config.attention.kind_of_layer(layer), config.attention, config.num_attention_heads,
                                config.attention_head_dim, config.eps)),
      attn2{config.num_attention_heads, AttentionProjections(config.channels(), config.eps), {}, {}, {}},
      eps_(config.eps),
      cross_attn_norm_(config.cross_attn_norm),
      attention_scope_(scope_of(config.attention.kind_of_layer(layer))) {
  norm2.eps = attn2.norm_added_k.eps = config.eps;
}

void WanBlock::params(ParamList& out, const std::string& prefix, const WanTransformerConfig& config) {
  const int64_t C = config.channels();
  attn1->params(out, prefix + "attn1.");
  attn2.params(out, prefix + "attn2.", C, config.image_dim > 0);
  if (cross_attn_norm_) norm2.params(out, prefix + "norm2.", C);
  ffn_in.block_params(out, prefix + "ffn.net.0.proj.", C, config.ffn_dim, true, xavier(C, config.ffn_dim));
  ffn_out.block_params(out, prefix + "ffn.net.2.", config.ffn_dim, C, true, xavier(C, config.ffn_dim));
  out.add_float(prefix + "scale_shift_table", scale_shift_table, {1, 6, C}, Init::zeros());
}

at::Tensor WanBlock::operator()(const at::Tensor& x, const WanCrossAttention::Keys& keys, const at::Tensor& modulation,
                                const AttentionInput& input) const {
  const auto m = (scale_shift_table + modulation).to(x.scalar_type()).chunk(6, 1);  // each [R, 1, C]
  // R is B, or B T: then the tokens of each frame have a row of their own.
  const auto by_row = [&](const at::Tensor& t) { return t.reshape({modulation.size(0), -1, t.size(2)}); };
  const auto by_sample = [&](const at::Tensor& t) { return t.reshape(x.sizes()); };
  NormedSum h;
  {
    const ProfileScope scope(attention_scope_);
    const at::Tensor seen = (*attn1)(by_sample(adaptive_norm(by_row(x), m[0], m[1], eps_)), input);
    if (cross_attn_norm_)
      h = add_layer_norm(by_row(x), by_row(seen), m[2], norm2.weight, norm2.bias, norm2.eps);
    else
      h.sum = h.normed = at::addcmul(by_row(x), by_row(seen), m[2]);
  }
  {
    const ProfileScope scope("cross-attention");
    const at::Tensor seen = attn2(by_sample(h.normed), keys);
    h = add_adaptive_norm(h.sum, by_row(seen), {}, m[3], m[4], eps_);
  }
  const ProfileScope scope("feed-forward");
  const at::Tensor hidden = ffn_in.gelu(by_sample(h.normed));
  return by_sample(at::addcmul(h.sum, by_row(ffn_out(hidden)), m[5]));
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
  if (config_.image_dim > 0)
    image_embedding_.params(out, condition + "image_embedder.", config_.image_dim, C, config_.image_positions);
  for (size_t layer = 0; layer < blocks_.size(); ++layer)
    blocks_[layer].params(out, prefix + "blocks." + std::to_string(layer) + ".", config_);
  proj_out_.params(out, prefix + "proj_out.", C, config_.out_channels * pt * ph * pw, true, Init::zeros());
  out.add_float(prefix + "scale_shift_table", scale_shift_table_, {1, 2, C}, Init::zeros());
}

std::vector<ParamList> WanTransformer::layers() {
  std::vector<ParamList> lists(blocks_.size());
  for (size_t layer = 0; layer < blocks_.size(); ++layer) blocks_[layer].params(lists[layer], "", config_);
  return lists;
}

void WanTransformer::check_input(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context,
                                 const at::Tensor& image) const {
  const auto& patch = config_.patch_size;
  TORCH_CHECK(latents.dim() == 5 && latents.size(1) == config_.in_channels, "WanTransformer: want latents [B, ",
              config_.in_channels, ", T, H, W], got ", latents.sizes());
  for (int64_t axis = 0; axis < 3; ++axis)
    TORCH_CHECK(latents.size(axis + 2) > 0 && latents.size(axis + 2) % patch[axis] == 0, "WanTransformer: latents ",
                latents.sizes(), " do not divide into patches ", at::IntArrayRef(patch.data(), 3));
  const int64_t B = latents.size(0), frames = latents.size(2) / patch[0];
  TORCH_CHECK(timesteps.size(0) == B && (timesteps.dim() == 1 || (timesteps.dim() == 2 && timesteps.size(1) == frames)),
              "WanTransformer: want timesteps [", B, "] or [", B, ", ", frames, "], got ", timesteps.sizes());
  TORCH_CHECK(context.dim() == 3 && context.size(0) == B && context.size(2) == config_.text_dim,
              "WanTransformer: want context [", B, ", L, ", config_.text_dim, "], got ", context.sizes());
  TORCH_CHECK(image.defined() == (config_.image_dim > 0),
              "WanTransformer: ", image.defined() ? "takes no image states" : "wants image states");
  TORCH_CHECK(!image.defined() || (image.dim() == 3 && image.size(0) == B && image.size(2) == config_.image_dim),
              "WanTransformer: want image states [", B, ", K, ", config_.image_dim, "], got ", image.sizes());
}

at::Tensor WanTransformer::operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context,
                                      NormalizerStats* stats, AttentionProbe* probe, const at::Tensor& image,
                                      WanKeptKeys* kept) const {
  check_input(latents, timesteps, context, image);
  const ProfileScope scope("transformer, outside of blocks");
  const auto& patch = config_.patch_size;
  const auto dtype = latents.scalar_type();
  const Extent3 grid{latents.size(2) / patch[0], latents.size(3) / patch[1], latents.size(4) / patch[2]};

  const at::Tensor sinusoid = timestep_sinusoid(timesteps.flatten(), config_.freq_dim);
  const at::Tensor time = time_out_(silu_of_rows(time_in_(sinusoid)));  // [R, C], R = B or B T
  const at::Tensor modulation =
      time_proj_(silu_of_rows(time).to(time_proj_.weight.scalar_type())).to(at::kFloat).unflatten(1, {6, -1});
  const AttentionInput input{grid, make_rope(grid, config_.attention_head_dim, latents.device()), stats, probe};

  at::Tensor x = embed_patches(latents, grid);
  const WanContext states{context.to(dtype), image.defined() ? image.to(dtype) : image};
  if (kept && !x.is_meta()) keep_keys(states, *kept);
  const bool known = kept && !kept->blocks.empty();
  const WanContext seen = known ? WanContext{} : embed_context(states);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (recompute_) {
      x = recomputed_block(blocks_[i], x, seen, modulation, input);
      continue;
    }
    const LayerTurn turn(stream_.get(), i);
    const auto keys = known ? repeated(kept->blocks[i], context.size(1)) : blocks_[i].attn2.keys(seen);
    x = blocks_[i](x, keys, modulation, input);
  }
  const auto head = (scale_shift_table_ + time.unsqueeze(1)).to(dtype).chunk(2, 1);
  const at::Tensor rows = x.reshape({time.size(0), -1, x.size(2)});  // a row for each timestep
  return unpatchify(proj_out_(adaptive_norm(rows, head[0], head[1], config_.eps).reshape(x.sizes())), grid);
}

WanContext WanTransformer::embed_context(const WanContext& states) const {
  WanContext seen{text_out_(text_in_.gelu(states.text)), {}};
  if (states.image.defined()) seen.image = image_embedding_(states.image);
  return seen;
}

void WanTransformer::keep_keys(const WanContext& states, WanKeptKeys& kept) const {
  const auto& [text, image] = states;
  if (kept.unchanged && kept.states.text.defined()) return;
  if (same(kept.states.text, text) && same(kept.states.image, image)) return;
  // Copies: the caller may write into its own.
  kept = {{text.clone(), image.defined() ? image.clone() : image}, {}, kept.unchanged};
  const at::Tensor rows = text.ne(0).any(2).any(0).nonzero();  // some sample has text there
  const int64_t text_rows = rows.numel() > 0 ? rows[-1].item<int64_t>() + 1 : 0;
  const int64_t used = std::min(text.size(1), text_rows + 1), pictures = image.defined() ? image.size(1) : 0;
  const int64_t bytes = text.size(0) * (used + pictures) * config_.channels() * config_.num_layers * kBytesOfKeys;
  if (bytes > kMostKeptBytes) return;
  const WanContext seen = embed_context({text.narrow(1, 0, used), image});
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const LayerTurn turn(stream_.get(), i);
    kept.blocks.push_back(blocks_[i].attn2.keys(seen));
  }
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
