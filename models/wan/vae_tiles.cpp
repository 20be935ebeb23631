#include <ATen/ATen.h>

#include "models/tiles.h"
#include "models/wan/vae.h"

// What tiles bound. A frame decoded whole holds, above the latents' resolution, activations and cached frames of about
// 18 kB a pixel (float32, 96 channels). Tiles hold that of one tile, because each tile decodes the whole clip before
// the next one begins; what grows with the picture and the clip is what they add up to and what they all read: 12 bytes
// a pixel and frame for the frames, 24 a pixel and latent frame for the features at the latents' resolution. A clip of
// more than kMostFramesAtOnce frames would need more for that than for cached frames: its tiles take turns, latent
// frame by latent frame, and keep their caches, so memory stops growing with its length.
namespace tessera {
namespace {

constexpr int64_t kMostFramesAtOnce = 400;
/// Latent pixels over which tiles change over linearly, after those next to a border, which see zeros in place of the
/// neighbor, are thrown away.
constexpr int64_t kRamp = 4;
/// What a latent pixel sees on each side before the encoder's middle: of four levels with two blocks each 8.5.
constexpr int64_t kEncoderMargin = 9;

/// What is thrown away of a decoded tile. With all weights random the rest differs from whole frames by 0.05 of the
/// range -1 to 1 at most, for either depth.
int64_t decoder_margin(const WanVaeConfig& config) {
  return config.num_res_blocks < 2 ? 4 : 6;
}

struct VaeTile {
  TileSpan row, column;  ///< latent pixels
  at::Tensor window;     ///< [H, W] pixels
  CausalCache cache = {};
};

std::vector<VaeTile> make_tiles(int64_t height, int64_t width, int64_t cells, int64_t stride,
                                const at::TensorOptions& options, int64_t margin) {
  const auto window = [&](const TileSpan& span, int64_t length) {
    return tile_window({span.begin * stride, span.length * stride}, length * stride, kRamp * stride, options,
                       margin * stride);
  };
  const int64_t overlap = 2 * margin + kRamp;
  std::vector<VaeTile> tiles;
  for (const TileSpan& row : tile_spans(height, cells, overlap))
    for (const TileSpan& column : tile_spans(width, cells, overlap))
      tiles.push_back({row, column, at::outer(window(row, height), window(column, width))});
  return tiles;
}

/// The part of x that a tile covers, rows in axis `axis` and columns in the next.
at::Tensor part_of(const at::Tensor& x, const VaeTile& tile, int64_t axis, int64_t scale) {
  return x.narrow(axis, tile.row.begin * scale, tile.row.length * scale)
      .narrow(axis + 1, tile.column.begin * scale, tile.column.length * scale);
}

}  // namespace

int64_t whole_decode_bytes(const WanVaeConfig& config, int64_t frames, int64_t height, int64_t width) {
  // An image is one frame where a clip's chunks are four, and caches one frame where clips cache two.
  const int64_t a_pixel_and_channel = frames == 1 ? 60 : 190;
  const int64_t patch = config.patch_size * config.patch_size;
  return a_pixel_and_channel * config.decoder_base_dim * (height * width / patch);
}

void WanVae::decode_tiles(const at::Tensor& latents, int64_t tile, const FrameSink& sink,
                          const std::function<void()>& pause) const {
  const int64_t stride = config_.spatial_stride(), cells = tile / stride, group = config_.temporal_stride();
  TORCH_CHECK(cells >= kSmallestTile, "WanVae: tiles of ", tile, " pixels are too small, want at least ",
              kSmallestTile * stride);
  TORCH_CHECK(latents.dim() == 5 && latents.size(1) == config_.z_dim, "WanVae: want latents [B, ", config_.z_dim,
              ", T, H, W], got ", latents.sizes());
  const int64_t T = latents.size(2), h = latents.size(3), w = latents.size(4);
  if (h <= cells && w <= cells) return decode_chunks(latents, sink);
  const auto options = latents.options().dtype(at::kFloat);
  std::vector<VaeTile> tiles = make_tiles(h, w, cells, stride, options, decoder_margin(config_));
  at::Tensor weight = at::zeros({h * stride, w * stride}, options);
  for (const VaeTile& t : tiles) part_of(weight, t, 0, stride).add_(t.window);

  const bool at_once = 1 + (T - 1) * group <= kMostFramesAtOnce;
  CausalCache whole;
  for (int64_t begin = 0, end = 0; begin < T; begin = end) {
    end = at_once ? T : begin + 1;
    std::vector<at::Tensor> middles;
    for (int64_t t = begin; t < end; ++t) {
      whole.begin_chunk();
      middles.push_back(decoder_.middle(decoder_input(latents.slice(2, t, t + 1)), &whole));
    }
    const int64_t frames = (end - begin) * group - (begin == 0 ? group - 1 : 0);
    at::Tensor sum = at::zeros({latents.size(0), config_.image_channels(), frames, h * stride, w * stride}, options);
    for (VaeTile& t : tiles) {
      int64_t done = 0;
      for (const at::Tensor& middle : middles) {
        if (pause) pause();
        t.cache.begin_chunk();
        const at::Tensor made = frames_of(decoder_.enlarge(part_of(middle, t, 2, 1).contiguous(), &t.cache));
        part_of(sum.narrow(2, done, made.size(2)), t, 3, stride).add_(made.to(at::kFloat) * t.window);
        done += made.size(2);
      }
      if (at_once) t.cache = CausalCache();
    }
    sum.div_(weight).clamp_(-1, 1);
    for (int64_t done = 0; done < frames;) {
      const int64_t next = begin == 0 && done == 0 ? 1 : group;
      sink(sum.narrow(2, done, next));
      done += next;
    }
  }
}

WanMoments WanVae::encode_tiles(const at::Tensor& frames, int64_t tile, const std::function<void()>& pause) const {
  const int64_t stride = config_.spatial_stride(), cells = tile / stride, group = config_.temporal_stride();
  TORCH_CHECK(cells >= kSmallestTile, "WanVae: tiles of ", tile, " pixels are too small, want at least ",
              kSmallestTile * stride);
  TORCH_CHECK(config_.attn_scales.empty(), "WanVae: an encoder with attention in its levels is not encoded in tiles");
  check_frames(frames);
  const int64_t T = frames.size(2), h = frames.size(3) / stride, w = frames.size(4) / stride;
  if (h <= cells && w <= cells) return encode_chunks(frames);
  const auto options = frames.options().dtype(at::kFloat);
  std::vector<VaeTile> tiles = make_tiles(h, w, cells, 1, options, kEncoderMargin);
  at::Tensor weight = at::zeros({h, w, 1}, options), sum;
  for (VaeTile& t : tiles) {
    const at::Tensor window = t.window.unsqueeze(-1);  // [h, w, 1]
    part_of(weight, t, 0, 1).add_(window);
    const at::Tensor part = part_of(frames, t, 3, stride);
    for (int64_t begin = 0; begin < T; begin += begin == 0 ? 1 : group) {
      if (pause) pause();
      t.cache.begin_chunk();
      const at::Tensor chunk = encoder_input(part.slice(2, begin, begin == 0 ? 1 : begin + group));
      const at::Tensor made = encoder_.shrink(chunk, &t.cache).to(at::kFloat);  // [B, 1, h, w, C]
      if (!sum.defined()) sum = at::zeros({frames.size(0), 1 + (T - 1) / group, h, w, made.size(4)}, options);
      const int64_t latent = begin == 0 ? 0 : 1 + (begin - 1) / group;
      part_of(sum.narrow(1, latent, 1), t, 2, 1).add_(made * window);
    }
    t.cache = CausalCache();
  }
  sum.div_(weight);
  CausalCache whole;
  std::vector<at::Tensor> parts;
  for (int64_t t = 0; t < sum.size(1); ++t) {
    whole.begin_chunk();
    parts.push_back(quant_conv_(encoder_.middle(sum.narrow(1, t, 1).to(frames.scalar_type()), &whole)));
  }
  return split_moments(at::cat(parts, 1));
}

}  // namespace tessera
