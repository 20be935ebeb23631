#include "models/wan/vae.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/size_limits.h"

namespace tessera {
namespace {

const std::vector<double> kWan21Mean{-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,  -0.1517, 1.5508,
                                     0.4134,  -0.0715, 0.5517,  -0.3632, -0.1922, -0.9497, 0.2503,  -0.2921};
const std::vector<double> kWan21Std{2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};
// Of the residual autoencoder with 48 channels.
const std::vector<double> kWan22Mean{
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174,  0.1838,  0.1557,  -0.1382, 0.0542,  0.2813,  0.0891,
    0.1570,  -0.0098, 0.0375,  -0.1825, -0.2246, -0.1207, -0.0698, 0.5109,  0.2665,  -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109,  0.1567,  -0.0729, 0.0899,  -0.2799, -0.1230, -0.0313, -0.1649, 0.0117,  0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748,  0.0152,  0.1957,  0.1433,  -0.2944, 0.3573,  -0.0548, -0.1681, -0.0667};
const std::vector<double> kWan22Std{0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344,
                                    0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804,
                                    0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999,
                                    0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
                                    0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744};

void require(const JsonConfig& json, const std::string& key, bool good, const std::string& problem) {
  if (!good) json.fail(key, problem);
}

std::vector<double> latent_statistics(const JsonConfig& json, const std::string& key, const WanVaeConfig& config,
                                      const std::vector<double>& wan21, const std::vector<double>& wan22,
                                      double otherwise) {
  const int64_t z_dim = config.z_dim;
  if (!json.has(key) && z_dim == 16) return wan21;
  if (!json.has(key) && z_dim == 48 && config.is_residual) return wan22;
  if (!json.has(key)) return std::vector<double>(static_cast<size_t>(z_dim), otherwise);
  std::vector<double> values = json.numbers(key);
  require(json, key, static_cast<int64_t>(values.size()) == z_dim,
          "must hold z_dim = " + std::to_string(z_dim) + " numbers");
  return values;
}

/// What a level adds to its output must divide into the level's channels: those of a cell average evenly on the way
/// down, and repeat evenly on the way up.
void check_residual(const WanVaeConfig& config, const JsonConfig& json) {
  require(json, "attn_scales", config.attn_scales.empty(), "must be empty when is_residual is true");
  const size_t levels = config.dim_mult.size();
  for (size_t level = 0; level < levels; ++level) {
    const bool last = level + 1 == levels;
    const int64_t cell = last ? 1 : config.temperal_downsample[level] ? 8 : 4;
    const int64_t in = level == 0 ? 1 : config.dim_mult[level - 1], out = config.dim_mult[level];
    require(json, "dim_mult", in * cell % out == 0,
            "must let the channels of a cell, 4 pixels of 1 or 2 frames, divide evenly from level to level");
    if (last || level == 0) continue;  // the decoder does not enlarge on these levels' way in
    const int64_t up_cell = config.temperal_downsample[level - 1] ? 8 : 4;
    require(json, "dim_mult", out * up_cell % config.dim_mult[level + 1] == 0,
            "must let the channels of a cell, 4 pixels of 1 or 2 frames, divide evenly from level to level");
  }
}

void check_channels(const WanVaeConfig& config, const JsonConfig& json) {
  const int64_t patch = config.patch_size * config.patch_size;
  require(json, "in_channels", config.in_channels >= patch && config.in_channels % patch == 0,
          "must be a multiple of patch_size squared = " + std::to_string(patch));
  require(json, "out_channels", config.out_channels == config.in_channels,
          "must equal in_channels = " + std::to_string(config.in_channels));
}

}  // namespace

WanVaeConfig WanVaeConfig::from_json(const JsonConfig& json) {
  WanVaeConfig config;
  config.is_residual = json.boolean("is_residual", false);
  config.base_dim = read_size(json, "base_dim", limits::kChannels, config.base_dim);
  config.decoder_base_dim = read_size(json, "decoder_base_dim", limits::kChannels, config.base_dim);
  config.z_dim = read_size(json, "z_dim", limits::kChannels, config.z_dim);
  config.dim_mult = read_sizes(json, "dim_mult", limits::kMultiplier, limits::kLevels, config.dim_mult);
  config.num_res_blocks = read_size(json, "num_res_blocks", limits::kLevelBlocks, config.num_res_blocks);
  if (json.has("attn_scales")) config.attn_scales = json.numbers("attn_scales");
  require(json, "attn_scales", static_cast<int64_t>(config.attn_scales.size()) <= limits::kLevels,
          "must hold at most " + std::to_string(limits::kLevels) + " numbers");
  config.temperal_downsample = json.booleans("temperal_downsample", config.temperal_downsample);
  config.in_channels = read_size(json, "in_channels", limits::kChannels, config.in_channels);
  config.out_channels = read_size(json, "out_channels", limits::kChannels, config.out_channels);
  config.patch_size = read_size(json, "patch_size", limits::kPatch, config.patch_size);
  check_channels(config, json);
  require(json, "temperal_downsample", config.temperal_downsample.size() + 1 == config.dim_mult.size(),
          "must hold one value fewer than dim_mult, " + std::to_string(config.dim_mult.size() - 1));
  if (config.is_residual) check_residual(config, json);
  config.latents_mean = latent_statistics(json, "latents_mean", config, kWan21Mean, kWan22Mean, 0.0);
  config.latents_std = latent_statistics(json, "latents_std", config, kWan21Std, kWan22Std, 1.0);
  require(json, "latents_std",
          std::all_of(config.latents_std.begin(), config.latents_std.end(), [](double s) { return s > 0; }),
          "must hold positive numbers");
  config.latent_rgb = read_latent_rgb(json, config.z_dim, /*wan21=*/config.latents_mean == kWan21Mean);
  return config;
}

int64_t WanVaeConfig::spatial_stride() const {
  return patch_size << (dim_mult.size() - 1);
}

int64_t WanVaeConfig::temporal_stride() const {
  return int64_t{1} << std::count(temperal_downsample.begin(), temperal_downsample.end(), true);
}

namespace {

/// The first `z` rows of [2 z, C, 3, 3, 3] get a deviation that gives means of deviation 2; the rows of the
/// log-variance are zero.
Init moment_rows(int64_t channels, int64_t z) {
  // A SiLU of unit normals has mean square 0.36.
  Init init = Init::normal(2.0 / std::sqrt(0.36 * 9.0 * static_cast<double>(channels)));
  init.adjust = [z](at::Tensor& weight) {
    weight.slice(2, 0, 2).zero_();
    weight.slice(0, z).zero_();
  };
  return init;
}

Init identity(int64_t channels) {
  return Init::of([channels] { return at::eye(channels).view({channels, channels, 1, 1, 1}); });
}

void mid_params(ParamList& out, const std::string& prefix, WanResidualBlock& first, WanFrameAttention& attention,
                WanResidualBlock& last) {
  first.params(out, prefix + "resnets.0.");
  attention.params(out, prefix + "attentions.0.");
  last.params(out, prefix + "resnets.1.");
}

}  // namespace

WanVaeEncoder::WanVaeEncoder(const WanVaeConfig& config)
    : mid_in(config.base_dim * config.dim_mult.back(), config.base_dim * config.dim_mult.back(), /*plain=*/true),
      mid_out(mid_in),
      mid_attention(mid_in.in) {
  int64_t width = config.base_dim;
  double scale = 1.0;
  for (size_t level = 0; level < config.dim_mult.size(); ++level) {
    const int64_t out = config.base_dim * config.dim_mult[level];
    const bool last = level + 1 == config.dim_mult.size();
    if (config.is_residual) {
      const bool with_time = !last && config.temperal_downsample[level];
      down_blocks.emplace_back(WanResidualDown(width, out, config.num_res_blocks, !last, with_time));
      width = out;
      continue;
    }
    for (int64_t i = 0; i < config.num_res_blocks; ++i) {
      down_blocks.emplace_back(WanResidualBlock(width, out));
      width = out;
      if (std::find(config.attn_scales.begin(), config.attn_scales.end(), scale) != config.attn_scales.end())
        down_blocks.emplace_back(WanFrameAttention(width));
    }
    if (last) continue;
    down_blocks.emplace_back(WanDownsample(width, config.temperal_downsample[level]));
    scale /= 2;
  }
}

void WanVaeEncoder::params(ParamList& out, const std::string& prefix, const WanVaeConfig& config) {
  const int64_t width = mid_in.in;
  conv_in.params(out, prefix + "conv_in.", config.in_channels, config.base_dim, 3, 3, 1.0);
  for (size_t i = 0; i < down_blocks.size(); ++i)
    std::visit([&](auto& layer) { layer.params(out, prefix + "down_blocks." + std::to_string(i) + "."); },
               down_blocks[i]);
  mid_params(out, prefix + "mid_block.", mid_in, mid_attention, mid_out);
  norm_out.params(out, prefix + "norm_out.", width, 4);
  conv_out.params(out, prefix + "conv_out.", width, 2 * config.z_dim, 3, 3, moment_rows(width, config.z_dim));
}

at::Tensor WanVaeEncoder::operator()(const at::Tensor& x, CausalCache* cache) const {
  return middle(shrink(x, cache), cache);
}

at::Tensor WanVaeEncoder::shrink(const at::Tensor& x, CausalCache* cache) const {
  at::Tensor h = conv_in(x, cache);
  for (const Layer& layer : down_blocks) h = std::visit([&](const auto& l) { return l(h, cache); }, layer);
  return h;
}

at::Tensor WanVaeEncoder::middle(const at::Tensor& x, CausalCache* cache) const {
  const at::Tensor h = mid_out(mid_attention(mid_in(x, cache), cache), cache);
  return conv_out(norm_out.silu(h), cache);
}

WanVaeDecoder::WanVaeDecoder(const WanVaeConfig& config)
    : mid_in(config.decoder_base_dim * config.dim_mult.back(), config.decoder_base_dim * config.dim_mult.back(),
             /*plain=*/true),
      mid_out(mid_in),
      mid_attention(mid_in.in) {
  conv_in.plain = true;
  int64_t width = mid_in.in;
  const size_t levels = config.dim_mult.size();
  for (size_t level = 0; level < levels; ++level) {
    const int64_t out = config.decoder_base_dim * config.dim_mult[levels - 1 - level];
    UpBlock block;
    block.is_residual = config.is_residual && level + 1 < levels;
    for (int64_t i = 0; i <= config.num_res_blocks; ++i) {
      block.resnets.emplace_back(width, out, /*plain=*/level == 0);
      width = out;
    }
    if (level + 1 < levels) {
      const int64_t enlarged = config.is_residual ? width : width / 2;
      block.upsamplers.emplace_back(width, enlarged, config.temperal_downsample[levels - 2 - level]);
      width = enlarged;
    }
    up_blocks.push_back(std::move(block));
  }
}

void WanVaeDecoder::params(ParamList& out, const std::string& prefix, const WanVaeConfig& config) {
  conv_in.params(out, prefix + "conv_in.", config.z_dim, mid_in.in, 3, 3, 1.0);
  mid_params(out, prefix + "mid_block.", mid_in, mid_attention, mid_out);
  for (size_t i = 0; i < up_blocks.size(); ++i) {
    const std::string block = prefix + "up_blocks." + std::to_string(i) + ".";
    for (size_t j = 0; j < up_blocks[i].resnets.size(); ++j)
      up_blocks[i].resnets[j].params(out, block + "resnets." + std::to_string(j) + ".");
    for (WanUpsample& upsampler : up_blocks[i].upsamplers)
      upsampler.params(out, block + (config.is_residual ? "upsampler." : "upsamplers.0."));
  }
  const int64_t width = up_blocks.back().resnets.back().out;
  norm_out.params(out, prefix + "norm_out.", width, 4);
  conv_out.params(out, prefix + "conv_out.", width, config.out_channels, 3, 3, 1.0);
}

at::Tensor WanVaeDecoder::operator()(const at::Tensor& x, CausalCache* cache) const {
  return enlarge(middle(x, cache), cache);
}

at::Tensor WanVaeDecoder::middle(const at::Tensor& x, CausalCache* cache) const {
  const at::Tensor h = conv_in(x, cache);
  return mid_out(mid_attention(mid_in(h, cache), cache), cache);
}

at::Tensor WanVaeDecoder::UpBlock::operator()(const at::Tensor& x, CausalCache* cache) const {
  at::Tensor h = x;
  for (const WanResidualBlock& resnet : resnets) h = resnet(h, cache);
  for (const WanUpsample& upsampler : upsamplers) h = upsampler(h, cache);
  if (!is_residual) return h;
  const int64_t time = upsamplers.front().temporal ? 2 : 1;
  const at::Tensor repeated = spread_cells(x, h.size(4), time, 2);
  return h + (starts_clip(cache) ? repeated.slice(1, time - 1) : repeated);  // the clip's first frame stays one
}

at::Tensor WanVaeDecoder::enlarge(const at::Tensor& x, CausalCache* cache) const {
  at::Tensor h = x;
  for (const UpBlock& block : up_blocks) h = block(h, cache);
  return conv_out(norm_out.silu(h), cache);
}

WanVae::WanVae(WanVaeConfig config) : config_(std::move(config)), encoder_(config_), decoder_(config_) {}

void WanVae::params(ParamList& out, const std::string& prefix) {
  const int64_t z = config_.z_dim;
  encoder_.params(out, prefix + "encoder.", config_);
  quant_conv_.params(out, prefix + "quant_conv.", 2 * z, 2 * z, 5, identity(2 * z), Init::of([z] {
                       return at::cat({at::zeros({z}), at::full({z}, -6.0)});
                     }));
  post_quant_conv_.params(out, prefix + "post_quant_conv.", z, z, 5, identity(z));
  decoder_.params(out, prefix + "decoder.", config_);
}

namespace {

/// [B, C, T, H, W] -> [B, T, H / p, W / p, C p p]; channels ordered (color, column in the patch, row in the patch).
at::Tensor unshuffle(const at::Tensor& frames, int64_t p) {
  const at::Tensor split = frames.unflatten(4, {-1, p}).unflatten(3, {-1, p});  // [B, C, T, h, p, w, p]
  return split.permute({0, 2, 3, 5, 1, 6, 4}).flatten(4).contiguous();
}

/// The inverse of unshuffle.
at::Tensor shuffle(const at::Tensor& x, int64_t p) {
  const at::Tensor split = x.unflatten(4, {-1, p, p});  // [B, T, h, w, C, column, row]
  return split.permute({0, 4, 1, 2, 6, 3, 5}).flatten(5).flatten(3, 4).contiguous();
}

}  // namespace

at::Tensor WanVae::encoder_input(const at::Tensor& frames) const {
  return unshuffle(frames, config_.patch_size);
}

at::Tensor WanVae::moments(const at::Tensor& frames, CausalCache* cache) const {
  return quant_conv_(encoder_(encoder_input(frames), cache));
}

at::Tensor WanVae::pixels(const at::Tensor& latents, CausalCache* cache) const {
  return frames_of(decoder_(decoder_input(latents), cache));
}

at::Tensor WanVae::decoder_input(const at::Tensor& latents) const {
  return post_quant_conv_(latents.permute({0, 2, 3, 4, 1}).contiguous());  // [B, T, h, w, z]
}

at::Tensor WanVae::frames_of(const at::Tensor& features) const {
  return shuffle(features, config_.patch_size);
}

void WanVae::check_frames(const at::Tensor& frames) const {
  const int64_t space = config_.spatial_stride(), time = config_.temporal_stride();
  TORCH_CHECK(frames.dim() == 5 && frames.size(1) == config_.image_channels() && frames.size(2) >= 1 &&
                  (frames.size(2) - 1) % time == 0 && frames.size(3) % space == 0 && frames.size(4) % space == 0,
              "WanVae: want frames [B, ", config_.image_channels(), ", 1 + k ", time, ", multiple of ", space,
              ", multiple of ", space, "], got ", frames.sizes());
}

namespace {

void check_latents(const at::Tensor& latents, const WanVaeConfig& config) {
  TORCH_CHECK(latents.dim() == 5 && latents.size(1) == config.z_dim && latents.size(2) >= 1,
              "WanVae: want latents [B, ", config.z_dim, ", T, H, W], got ", latents.sizes());
}

}  // namespace

WanMoments split_moments(const at::Tensor& moments) {
  const auto halves = moments.permute({0, 4, 1, 2, 3}).chunk(2, 1);
  return {halves[0].contiguous(), halves[1].contiguous()};
}

WanMoments WanVae::encode(const at::Tensor& frames) const {
  check_frames(frames);
  return split_moments(moments(frames, nullptr));
}

WanMoments WanVae::encode_chunks(const at::Tensor& frames) const {
  check_frames(frames);
  CausalCache cache;
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < frames.size(2); begin += begin == 0 ? 1 : config_.temporal_stride()) {
    cache.begin_chunk();
    parts.push_back(moments(frames.slice(2, begin, begin == 0 ? 1 : begin + config_.temporal_stride()), &cache));
  }
  return split_moments(at::cat(parts, 1));
}

at::Tensor WanVae::decode(const at::Tensor& latents) const {
  return decode_unclamped(latents).clamp(-1, 1);
}

at::Tensor WanVae::decode_unclamped(const at::Tensor& latents) const {
  check_latents(latents, config_);
  return pixels(latents, nullptr);
}

void WanVae::decode_chunks(const at::Tensor& latents, const FrameSink& sink) const {
  check_latents(latents, config_);
  CausalCache cache;
  for (int64_t t = 0; t < latents.size(2); ++t) {
    cache.begin_chunk();
    sink(pixels(latents.slice(2, t, t + 1), &cache).clamp(-1, 1));
  }
}

}  // namespace tessera
