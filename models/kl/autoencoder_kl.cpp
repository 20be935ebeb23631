#include "models/kl/autoencoder_kl.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/size_limits.h"
#include "kernels/convolution.h"
#include "kernels/value_type.h"
#include "models/attention/softmax.h"
#include "models/tiles.h"

namespace tessera {
namespace {

/// `key`, where given, must be a list of `count` times `name`.
void check_block_types(const JsonConfig& json, const std::string& key, const std::string& name, size_t count) {
  if (!json.has(key)) return;
  const nlohmann::json& types = json.json().at(key);
  if (!types.is_array() || types.size() != count) json.fail(key, "must list a block for each of block_out_channels");
  for (const auto& type : types)
    if (type != name) json.fail(key, "must hold " + name + " alone");
}

std::string numbered(const std::string& prefix, const std::string& name, size_t i) {
  return prefix + name + "." + std::to_string(i) + ".";
}

void level_params(ParamList& list, const std::string& prefix, KlLevel& level, const std::string& resample) {
  for (size_t i = 0; i < level.resnets.size(); ++i) level.resnets[i].params(list, numbered(prefix, "resnets", i));
  const int64_t width = level.resnets.back().out;
  if (level.resample) level.resample->params(list, prefix + resample + ".0.conv.", width, width, 3);
}

at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace

AutoencoderKlConfig AutoencoderKlConfig::from_json(const JsonConfig& json) {
  AutoencoderKlConfig config;
  config.in_channels = read_size(json, "in_channels", limits::kChannels, config.in_channels);
  config.out_channels = read_size(json, "out_channels", limits::kChannels, config.out_channels);
  config.latent_channels = read_size(json, "latent_channels", limits::kChannels, config.latent_channels);
  config.layers_per_block = read_size(json, "layers_per_block", limits::kLevelBlocks, config.layers_per_block);
  config.norm_num_groups = read_size(json, "norm_num_groups", limits::kChannels, config.norm_num_groups);
  config.block_out_channels =
      read_sizes(json, "block_out_channels", limits::kChannels, limits::kLevels, config.block_out_channels);
  for (const int64_t channels : config.block_out_channels)
    if (channels % config.norm_num_groups != 0)
      json.fail("block_out_channels",
                "must hold multiples of norm_num_groups = " + std::to_string(config.norm_num_groups));
  check_block_types(json, "down_block_types", "DownEncoderBlock2D", config.block_out_channels.size());
  check_block_types(json, "up_block_types", "UpDecoderBlock2D", config.block_out_channels.size());
  if (json.text("act_fn", "silu") != "silu") json.fail("act_fn", "must be silu");
  for (const char* key : {"latents_mean", "latents_std"})
    if (json.has(key)) json.fail(key, "is not supported: latents are scaled by scaling_factor alone");
  config.use_quant_conv = json.boolean("use_quant_conv", true);
  config.use_post_quant_conv = json.boolean("use_post_quant_conv", true);
  config.mid_block_add_attention = json.boolean("mid_block_add_attention", true);
  config.scaling_factor = json.number("scaling_factor", config.scaling_factor);
  config.shift_factor = json.number("shift_factor", 0.0);
  if (!(config.scaling_factor > 0 && std::isfinite(config.scaling_factor)))
    json.fail("scaling_factor", "must be positive");
  return config;
}

void Conv2d::params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels, int64_t kernel) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in * kernel * kernel));
  out.add(prefix + "weight", weight, {out_channels, in, kernel, kernel}, Init::uniform(bound));
  out.add(prefix + "bias", bias, {out_channels}, Init::zeros());
}

namespace {

/// [B, C, H, W] -> one frame each, [B, 1, H, W, C]; and back.
at::Tensor to_frames(const at::Tensor& x) {
  return x.permute({0, 2, 3, 1}).unsqueeze(1);
}
at::Tensor from_frames(const at::Tensor& x) {
  return x.squeeze(1).permute({0, 3, 1, 2});
}

}  // namespace

at::Tensor Conv2d::operator()(const at::Tensor& x, const at::Tensor& residual) const {
  if (!plain && has_frame_conv(x, weight))
    return from_frames(frame_conv(
        {.parts = {to_frames(x)}, .bias = bias, .residual = residual.defined() ? to_frames(residual) : residual},
        *filters.of(weight)));
  const int64_t border = weight.size(2) / 2;
  const at::Tensor y = convolution(x, weight, bias, {1, 1}, {border, border});
  return residual.defined() ? residual + y : y;
}

at::Tensor Conv2d::enlarged(const at::Tensor& x) const {
  if (has_frame_conv(x, weight))
    return from_frames(frame_conv({.parts = {to_frames(x)}, .enlarge = true, .bias = bias}, *filters.of(weight)));
  return (*this)(at::upsample_nearest2d(x, {x.size(2) * 2, x.size(3) * 2}));
}

KlResnet::KlResnet(int64_t in_channels, int64_t out_channels, int64_t groups, bool plain)
    : in(in_channels), out(out_channels) {
  conv1.plain = conv2.plain = plain;
  norm1.groups = norm2.groups = groups;
}

void KlResnet::params(ParamList& list, const std::string& prefix) {
  norm1.params(list, prefix + "norm1.", in);
  conv1.params(list, prefix + "conv1.", in, out, 3);
  norm2.params(list, prefix + "norm2.", out);
  conv2.params(list, prefix + "conv2.", out, out, 3);
  if (in != out) conv_shortcut.params(list, prefix + "conv_shortcut.", in, out, 1);
}

at::Tensor KlResnet::operator()(const at::Tensor& x, SharedStatistics* shared) const {
  const at::Tensor h = conv1(norm1.silu(x, shared));
  return conv2(norm2.silu(h, shared), in == out ? x : conv_shortcut(x));
}

KlAttention::KlAttention(int64_t width, int64_t groups) : channels(width) {
  group_norm.groups = groups;
}

void KlAttention::params(ParamList& list, const std::string& prefix) {
  group_norm.params(list, prefix + "group_norm.", channels);
  to_q.params(list, prefix + "to_q.", channels, channels);
  to_k.params(list, prefix + "to_k.", channels, channels);
  to_v.params(list, prefix + "to_v.", channels, channels);
  to_out.params(list, prefix + "to_out.0.", channels, channels);
}

at::Tensor KlAttention::operator()(const at::Tensor& x) const {
  const at::Tensor cells = group_norm(x, nullptr).flatten(2).mT();  // [B, H W, C]
  const at::Tensor out = to_out(softmax_attention(to_q(cells), to_k(cells), to_v(cells), /*heads=*/1));
  return x + out.mT().reshape(x.sizes());
}

KlMiddle::KlMiddle(int64_t channels, const AutoencoderKlConfig& config)
    : first(channels, channels, config.norm_num_groups, /*plain=*/true), last(first) {
  if (config.mid_block_add_attention) attention.emplace(channels, config.norm_num_groups);
}

void KlMiddle::params(ParamList& list, const std::string& prefix) {
  first.params(list, prefix + "resnets.0.");
  if (attention) attention->params(list, prefix + "attentions.0.");
  last.params(list, prefix + "resnets.1.");
}

at::Tensor KlMiddle::operator()(const at::Tensor& x) const {
  const at::Tensor h = first(x, nullptr);
  return last(attention ? (*attention)(h) : h, nullptr);
}

AutoencoderKl::AutoencoderKl(AutoencoderKlConfig config)
    : config_(std::move(config)),
      encoder_middle_(config_.block_out_channels.back(), config_),
      decoder_middle_(config_.block_out_channels.back(), config_) {
  const auto& widths = config_.block_out_channels;
  const size_t levels = widths.size();
  const auto add_level = [&](std::vector<KlLevel>& to, int64_t from, int64_t width, int64_t resnets, bool plain) {
    KlLevel level;
    for (int64_t i = 0; i < resnets; ++i)
      level.resnets.emplace_back(i == 0 ? from : width, width, config_.norm_num_groups, plain);
    if (to.size() + 1 < levels) level.resample.emplace();
    to.push_back(std::move(level));
  };
  for (size_t i = 0; i < levels; ++i)
    add_level(down_, i == 0 ? widths[0] : widths[i - 1], widths[i], config_.layers_per_block, /*plain=*/false);
  for (size_t i = levels; i-- > 0;)
    add_level(up_, i + 1 == levels ? widths[i] : widths[i + 1], widths[i], config_.layers_per_block + 1,
              /*plain=*/i + 1 == levels);
  decoder_in_.plain = true;
  encoder_norm_.groups = decoder_norm_.groups = config_.norm_num_groups;
}

void AutoencoderKl::params(ParamList& out, const std::string& prefix) {
  const auto& widths = config_.block_out_channels;
  const int64_t z = config_.latent_channels;
  const std::string encoder = prefix + "encoder.", decoder = prefix + "decoder.";
  encoder_in_.params(out, encoder + "conv_in.", config_.in_channels, widths.front(), 3);
  for (size_t i = 0; i < down_.size(); ++i)
    level_params(out, numbered(encoder, "down_blocks", i), down_[i], "downsamplers");
  encoder_middle_.params(out, encoder + "mid_block.");
  encoder_norm_.params(out, encoder + "conv_norm_out.", widths.back());
  encoder_out_.params(out, encoder + "conv_out.", widths.back(), 2 * z, 3);
  if (config_.use_quant_conv) quant_conv_.params(out, prefix + "quant_conv.", 2 * z, 2 * z, 1);
  if (config_.use_post_quant_conv) post_quant_conv_.params(out, prefix + "post_quant_conv.", z, z, 1);
  decoder_in_.params(out, decoder + "conv_in.", z, widths.back(), 3);
  decoder_middle_.params(out, decoder + "mid_block.");
  for (size_t i = 0; i < up_.size(); ++i) level_params(out, numbered(decoder, "up_blocks", i), up_[i], "upsamplers");
  decoder_norm_.params(out, decoder + "conv_norm_out.", widths.front());
  decoder_out_.params(out, decoder + "conv_out.", widths.front(), config_.out_channels, 3);
}

KlMoments AutoencoderKl::encode(const at::Tensor& images) const {
  TORCH_CHECK(images.dim() == 4 && images.size(1) == config_.in_channels && images.numel() > 0 &&
                  images.size(2) % config_.stride() == 0 && images.size(3) % config_.stride() == 0,
              "AutoencoderKl: want pictures [B, ", config_.in_channels, ", H, W] with H and W multiples of ",
              config_.stride(), ", got ", images.sizes());
  at::Tensor h = encoder_in_(channels_last(images));
  for (const KlLevel& level : down_) {
    for (const KlResnet& resnet : level.resnets) h = resnet(h, nullptr);
    // Zeros beyond the right and the lower border alone.
    if (level.resample)
      h = convolution(at::constant_pad_nd(h, {0, 1, 0, 1}), level.resample->weight, level.resample->bias, {2, 2},
                      {0, 0});
  }
  h = encoder_out_(encoder_norm_.silu(encoder_middle_(h), nullptr));
  if (config_.use_quant_conv) h = quant_conv_(h);
  const auto halves = h.chunk(2, 1);
  return {halves[0].contiguous(), halves[1].clamp(-30, 20).contiguous()};
}

at::Tensor AutoencoderKl::decoder_middle(const at::Tensor& latents) const {
  TORCH_CHECK(latents.dim() == 4 && latents.size(1) == config_.latent_channels && latents.numel() > 0,
              "AutoencoderKl: want latents [B, ", config_.latent_channels, ", h, w], got ", latents.sizes());
  const at::Tensor z = channels_last(latents);
  return decoder_middle_(decoder_in_(config_.use_post_quant_conv ? post_quant_conv_(z) : z));
}

at::Tensor AutoencoderKl::decoder_levels(const at::Tensor& x, SharedStatistics* shared) const {
  at::Tensor h = x;
  for (const KlLevel& level : up_) {
    for (const KlResnet& resnet : level.resnets) h = resnet(h, shared);
    if (level.resample) h = level.resample->enlarged(h);
  }
  return decoder_out_(decoder_norm_.silu(h, shared));
}

at::Tensor AutoencoderKl::decode(const at::Tensor& latents) const {
  return decoder_levels(decoder_middle(latents), nullptr).contiguous();
}

at::Tensor AutoencoderKl::decode_tiled(const at::Tensor& latents, int64_t tile) const {
  constexpr int64_t kSmallest = 4;
  const int64_t stride = config_.stride(), cells = tile / stride, overlap = cells / 4;
  TORCH_CHECK(cells >= kSmallest, "AutoencoderKl: tiles of ", tile, " pixels are too small, want at least ",
              kSmallest * stride);
  const at::Tensor h = decoder_middle(latents);
  const auto rows = tile_spans(h.size(2), cells, overlap), columns = tile_spans(h.size(3), cells, overlap);
  if (rows.size() == 1 && columns.size() == 1) return decoder_levels(h, nullptr).contiguous();
  SharedStatistics statistics;
  const auto decode_tile = [&](const TileSpan& row, const TileSpan& column) {
    statistics.begin_tile();
    const at::Tensor part = h.narrow(2, row.begin, row.length).narrow(3, column.begin, column.length);
    return decoder_levels(channels_last(part), &statistics);
  };
  for (const TileSpan& row : rows)
    for (const TileSpan& column : columns) decode_tile(row, column);
  statistics.finish();

  const auto options = latents.options().dtype(wide_type(latents));
  const auto window = [&](const TileSpan& span, int64_t length) {
    return tile_window({span.begin * stride, span.length * stride}, length * stride, overlap * stride, options);
  };
  at::Tensor sum = at::zeros({h.size(0), config_.out_channels, h.size(2) * stride, h.size(3) * stride}, options);
  at::Tensor weights = at::zeros({h.size(2) * stride, h.size(3) * stride}, options);
  for (const TileSpan& row : rows)
    for (const TileSpan& column : columns) {
      const at::Tensor weight = window(row, h.size(2)).unsqueeze(1) * window(column, h.size(3));
      const auto place = [&](const at::Tensor& t) {
        return t.narrow(-2, row.begin * stride, row.length * stride)
            .narrow(-1, column.begin * stride, column.length * stride);
      };
      place(sum).addcmul_(decode_tile(row, column), weight);
      place(weights).add_(weight);
    }
  return sum.div_(weights).to(latents.scalar_type());
}

}  // namespace tessera
