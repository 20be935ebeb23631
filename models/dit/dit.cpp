#include "models/dit/dit.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/profile.h"
#include "core/size_limits.h"
#include "kernels/adaptive_norm.h"
#include "models/attention/image.h"
#include "models/recomputed.h"

namespace tessera {
namespace {

constexpr int64_t kSinusoid = 256;
constexpr double kNormEps = 1e-6;

void require_text(const JsonConfig& json, const std::string& key, const std::string& wanted) {
  if (json.text(key, wanted) != wanted) json.fail(key, "must be " + wanted);
}

void check_attention(const JsonConfig& json, const DitConfig& config) {
  const AttentionConfig& attention = config.attention;
  attention.check_layers(json, config.num_layers);
  if (attention.kind != AttentionKind::kMhla) return;
  if (attention.gated) json.fail("gated", "must be false: the image form of MHLA has no gate");
  if (attention.block_layout[0] != 1) json.fail("block_layout", "must begin with 1: a picture is one frame");
}

}  // namespace

DitConfig DitConfig::from_json(const JsonConfig& json) {
  require_text(json, "norm_type", "ada_norm_zero");
  require_text(json, "activation_fn", "gelu-approximate");
  for (const char* key : {"norm_elementwise_affine", "only_cross_attention", "double_self_attention"})
    if (json.boolean(key, false)) json.fail(key, "must be false for DiT");
  if (json.has("cross_attention_dim")) json.fail("cross_attention_dim", "must be null: DiT has no cross-attention");
  DitConfig config;
  const auto size = [&](const char* key, int64_t most, int64_t fallback) {
    return read_size(json, key, most, fallback);
  };
  config.num_attention_heads = size("num_attention_heads", limits::kHeads, config.num_attention_heads);
  config.attention_head_dim = size("attention_head_dim", limits::kWidth, config.attention_head_dim);
  config.in_channels = size("in_channels", limits::kChannels, config.in_channels);
  config.out_channels = size("out_channels", limits::kChannels, config.in_channels);
  config.num_layers = size("num_layers", limits::kLayers, config.num_layers);
  config.sample_size = size("sample_size", limits::kLatentSide, config.sample_size);
  config.patch_size = size("patch_size", limits::kPatch, config.patch_size);
  config.num_embeds_ada_norm = size("num_embeds_ada_norm", limits::kClasses, config.num_embeds_ada_norm);
  if (config.channels() > limits::kWidth)
    json.fail("attention_head_dim", "times num_attention_heads must be at most " + std::to_string(limits::kWidth));
  config.attention_bias = json.boolean("attention_bias", config.attention_bias);
  config.norm_eps = json.number("norm_eps", config.norm_eps);
  config.mlp_ratio = json.number("mlp_ratio", config.mlp_ratio);
  config.null_class = json.boolean("null_class", config.null_class);
  config.downscale_freq_shift = json.integer("downscale_freq_shift", config.downscale_freq_shift);
  config.position_embedding = json.boolean("position_embedding", config.position_embedding);
  if (config.out_channels != config.in_channels && !config.learns_variance())
    json.fail("out_channels", "must be in_channels or, with a learned variance, twice that");
  if (config.sample_size % config.patch_size != 0) json.fail("sample_size", "must be a multiple of patch_size");
  if (config.channels() % 4 != 0) json.fail("attention_head_dim", "times num_attention_heads must be a multiple of 4");
  if (!(config.mlp_ratio > 0 && config.mlp_ratio <= 64)) json.fail("mlp_ratio", "must lie between 0 and 64");
  if (config.downscale_freq_shift < 0 || config.downscale_freq_shift > 1)
    json.fail("downscale_freq_shift", "must be 0 or 1");
  if (json.has("attention")) {
    config.attention = AttentionConfig::from_json(json.object("attention"));
    check_attention(json.object("attention"), config);
  }
  return config;
}

nlohmann::ordered_json DitConfig::to_json() const {
  nlohmann::ordered_json json = {{"num_attention_heads", num_attention_heads},
                                 {"attention_head_dim", attention_head_dim},
                                 {"in_channels", in_channels},
                                 {"out_channels", out_channels},
                                 {"num_layers", num_layers},
                                 {"sample_size", sample_size},
                                 {"patch_size", patch_size},
                                 {"num_embeds_ada_norm", num_embeds_ada_norm},
                                 {"attention_bias", attention_bias},
                                 {"norm_eps", norm_eps},
                                 {"norm_type", "ada_norm_zero"},
                                 {"activation_fn", "gelu-approximate"},
                                 {"norm_elementwise_affine", false},
                                 {"mlp_ratio", mlp_ratio},
                                 {"null_class", null_class},
                                 {"downscale_freq_shift", downscale_freq_shift},
                                 {"position_embedding", position_embedding}};
  if (attention.kind != AttentionKind::kSoftmax) json["attention"] = attention.to_json();
  return json;
}

DitBlock::DitBlock(const DitConfig& config, int64_t layer)
    : attn1(make_image_attention(config.attention.kind_of_layer(layer), config.attention, config.num_attention_heads,
                                 config.attention_head_dim, config.attention_bias)),
      norm_eps_(config.norm_eps),
      attention_scope_(scope_of(config.attention.kind_of_layer(layer))) {}

void DitBlock::params(ParamList& out, const std::string& prefix, const DitConfig& config) {
  const int64_t C = config.channels(), hidden = config.feed_forward();
  const std::string embedder = prefix + "norm1.emb.";
  time_in.float_params(out, embedder + "timestep_embedder.linear_1.", kSinusoid, C, Init::normal(0.02));
  time_out.float_params(out, embedder + "timestep_embedder.linear_2.", C, C, Init::normal(0.02));
  out.add_float(embedder + "class_embedder.embedding_table.weight", labels, {config.labels(), C}, Init::normal(0.02));
  modulation.params(out, prefix + "norm1.linear.", C, 6 * C, true, Init::zeros());
  attn1->params(out, prefix + "attn1.");
  ff_in.block_params(out, prefix + "ff.net.0.proj.", C, hidden, true, xavier(C, hidden));
  ff_out.block_params(out, prefix + "ff.net.2.", hidden, C, true, xavier(hidden, C));
}

at::Tensor DitBlock::condition(const at::Tensor& sinusoid, const at::Tensor& classes) const {
  return time_out.each_row(at::silu(time_in.each_row(sinusoid))) + labels.index({classes});
}

at::Tensor DitBlock::operator()(const at::Tensor& x, const at::Tensor& condition, const AttentionInput& input) const {
  const auto m = modulation(at::silu(condition).to(x.scalar_type())).unsqueeze(1).chunk(6, 2);  // each [B, 1, C]
  NormedSum h;
  {
    const ProfileScope scope(attention_scope_);
    const at::Tensor seen = (*attn1)(adaptive_norm(x, m[0], m[1], kNormEps), input);
    h = add_adaptive_norm(x, seen, m[2], m[3], m[4], norm_eps_);
  }
  const ProfileScope scope("feed-forward");
  return at::addcmul(h.sum, ff_out(ff_in.gelu(h.normed)), m[5]);
}

Dit::Dit(DitConfig config) : config_(std::move(config)) {
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) blocks_.emplace_back(config_, layer);
}

void Dit::params(ParamList& out, const std::string& prefix) {
  const int64_t C = config_.channels(), p = config_.patch_size, grid = config_.grid();
  out.add(prefix + "pos_embed.proj.weight", patch_weight_, {C, config_.in_channels, p, p},
          xavier(config_.in_channels * p * p, C));
  out.add(prefix + "pos_embed.proj.bias", patch_bias_, {C}, Init::zeros());
  if (config_.position_embedding)
    out.add_float(prefix + "pos_embed.pos_embed", positions_, {1, grid * grid, C},
                  Init::of([grid, C] { return sincos_positions(grid, C, at::kCPU); }));
  for (size_t layer = 0; layer < blocks_.size(); ++layer)
    blocks_[layer].params(out, prefix + "transformer_blocks." + std::to_string(layer) + ".", config_);
  proj_out_1_.params(out, prefix + "proj_out_1.", C, 2 * C, true, Init::zeros());
  proj_out_2_.params(out, prefix + "proj_out_2.", C, p * p * config_.out_channels, true, Init::zeros());
}

at::Tensor Dit::operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& classes,
                           NormalizerStats* stats, AttentionProbe* probe) const {
  const int64_t size = config_.sample_size, grid = config_.grid();
  TORCH_CHECK(latents.dim() == 4 && latents.size(1) == config_.in_channels && latents.size(2) == size &&
                  latents.size(3) == size,
              "Dit: want latents [B, ", config_.in_channels, ", ", size, ", ", size, "], got ", latents.sizes());
  const int64_t B = latents.size(0);
  TORCH_CHECK(timesteps.dim() == 1 && timesteps.size(0) == B, "Dit: want timesteps [", B, "], got ", timesteps.sizes());
  TORCH_CHECK(classes.dim() == 1 && classes.size(0) == B && classes.scalar_type() == at::kLong,
              "Dit: want classes int64 [", B, "], got ", classes.scalar_type(), " ", classes.sizes());
  const ProfileScope scope("transformer, outside of blocks");
  const at::Tensor sinusoid = dit_timestep_sinusoid(timesteps, kSinusoid, config_.downscale_freq_shift);
  const AttentionInput input{{1, grid, grid}, {}, stats, probe};
  at::Tensor x = embed_patches(latents);
  for (const DitBlock& block : blocks_) {
    const at::Tensor condition = block.condition(sinusoid, classes);
    const auto part = [&block, input](const std::vector<at::Tensor>& in) { return block(in[0], in[1], input); };
    x = recompute_ ? recomputed(part, {x, condition}) : block(x, condition, input);
  }
  const at::Tensor last = at::silu(blocks_.front().condition(sinusoid, classes)).to(x.scalar_type());
  const auto m = proj_out_1_(last).unsqueeze(1).chunk(2, 2);  // each [B, 1, C]
  return unpatchify(proj_out_2_(adaptive_norm(x, m[0], m[1], kNormEps)));
}

at::Tensor Dit::embed_patches(const at::Tensor& latents) const {
  const int64_t B = latents.size(0), in = latents.size(1), p = config_.patch_size, grid = config_.grid();
  const auto dtype = latents.scalar_type();
  const at::Tensor patches =
      latents.reshape({B, in, grid, p, grid, p}).permute({0, 2, 4, 1, 3, 5}).reshape({B, grid * grid, in * p * p});
  const at::Tensor x = linear_rows(patches, patch_weight_.to(dtype).flatten(1), patch_bias_.to(dtype));  // [B, N, C]
  const at::Tensor positions =
      positions_.defined() ? positions_ : sincos_positions(grid, config_.channels(), latents.device());
  return x + positions.to(dtype);
}

at::Tensor Dit::unpatchify(const at::Tensor& tokens) const {
  const int64_t B = tokens.size(0), out = config_.out_channels, p = config_.patch_size, grid = config_.grid();
  return tokens.reshape({B, grid, grid, p, p, out})
      .permute({0, 5, 1, 3, 2, 4})
      .reshape({B, out, config_.sample_size, config_.sample_size});
}

at::Tensor sincos_positions(int64_t grid, int64_t channels, at::Device device) {
  TORCH_CHECK(grid >= 1 && channels % 4 == 0, "sincos_positions: bad grid ", grid, " or channels ", channels);
  const auto options = at::TensorOptions().dtype(at::kDouble).device(device);
  const int64_t quarter = channels / 4;
  const at::Tensor rates = at::exp(at::arange(quarter, options) * (-std::log(10000.0) / static_cast<double>(quarter)));
  const at::Tensor angles = at::arange(grid, options).unsqueeze(1) * rates;  // [grid, C / 4]
  const at::Tensor axis = at::cat({angles.sin(), angles.cos()}, 1);          // [grid, C / 2]
  const at::Tensor columns = axis.unsqueeze(0).expand({grid, grid, channels / 2});
  const at::Tensor rows = axis.unsqueeze(1).expand({grid, grid, channels / 2});
  return at::cat({columns, rows}, 2).reshape({1, grid * grid, channels}).to(at::kFloat);
}

at::Tensor dit_timestep_sinusoid(const at::Tensor& timesteps, int64_t size, int64_t shift) {
  const int64_t half = size / 2;
  const at::Tensor steps = at::arange(half, timesteps.options().dtype(at::kFloat));
  const at::Tensor rates = at::exp(steps * -std::log(10000.0) / static_cast<double>(half - shift));
  const at::Tensor angles = timesteps.to(at::kFloat).unsqueeze(1) * rates;
  return at::cat({angles.cos(), angles.sin()}, 1);
}

}  // namespace tessera
