#include "models/wan/tiny_decoder.h"

#include <ATen/ATen.h>

namespace tessera {
namespace {

constexpr size_t kBlocks = 3;

Init spread(int64_t fan_in) {
  return Init::normal(1.0 / std::sqrt(static_cast<double>(fan_in)));
}

}  // namespace

TinyDecoder::TinyDecoder(const TinyDecoderConfig& config) : config_(config) {}

at::Tensor TinyDecoder::Convolution::operator()(const at::Tensor& x) const {
  const at::Tensor w = weight.to(x.scalar_type()), b = bias.defined() ? bias.to(x.scalar_type()) : bias;
  const int64_t padding = weight.size(-1) / 2;
  return at::conv2d(x, w, b, /*stride=*/1, padding);
}

at::Tensor TinyDecoder::MemoryBlock::operator()(const at::Tensor& x, const at::Tensor& before) const {
  at::Tensor h = at::relu(layers[0](at::cat({x, before}, 1)));
  h = at::relu(layers[1](h));
  return at::relu(layers[2](h) + x);
}

void TinyDecoder::params(ParamList& out, const std::string& prefix) {
  const auto add = [&](const std::string& name, Convolution& layer, int64_t to, int64_t from, int64_t kernel,
                       bool with_bias) {
    out.add(prefix + "decoder." + name + ".weight", layer.weight, {to, from, kernel, kernel},
            spread(from * kernel * kernel));
    if (with_bias) out.add(prefix + "decoder." + name + ".bias", layer.bias, {to}, Init::zeros());
  };
  add("1", first_, config_.widths[0], config_.z_dim, 3, true);
  size_t place = 3;  // 0 clamps, 2 and the place before the last are ReLU, the one before each `grow` enlarges
  for (size_t i = 0; i < levels_.size(); ++i) {
    const int64_t width = config_.widths[i];
    for (MemoryBlock& block : levels_[i].blocks) {
      const std::string name = std::to_string(place++) + ".conv.";
      add(name + "0", block.layers[0], width, 2 * width, 3, true);
      add(name + "2", block.layers[1], width, width, 3, true);
      add(name + "4", block.layers[2], width, width, 3, true);
    }
    add(std::to_string(++place) + ".conv", levels_[i].grow, width * config_.frames_per_latent[i], width, 1, false);
    add(std::to_string(++place), levels_[i].next, config_.widths[i + 1], width, 3, false);
    ++place;
  }
  add(std::to_string(++place), last_, 3 * config_.patch_size * config_.patch_size, config_.widths.back(), 3, true);
}

at::Tensor TinyDecoder::frame(const at::Tensor& latent, Memory& memory) const {
  constexpr double kLargest = 3;
  at::Tensor x = at::relu(first_((latent / kLargest).tanh() * kLargest));
  size_t slot = 0;
  for (size_t i = 0; i < levels_.size(); ++i) {
    for (const MemoryBlock& block : levels_[i].blocks) {
      at::Tensor& before = memory[slot++];
      const at::Tensor out = block(x, before.defined() ? before : at::zeros_like(x));
      before = x;
      x = out;
    }
    x = at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)});
    const at::Tensor all = levels_[i].grow(x);  // the frames lie one after another in the channels
    x = levels_[i].next(all.narrow(1, all.size(1) - config_.widths[i], config_.widths[i]));
  }
  x = last_(at::relu(x));
  if (config_.patch_size > 1) x = at::pixel_shuffle(x, config_.patch_size);
  return x.clamp(0, 1);
}

void TinyDecoder::operator()(const at::Tensor& latents, const PictureSink& sink) const {
  TORCH_CHECK(latents.dim() == 5 && latents.size(0) == 1 && latents.size(1) == config_.z_dim, "TinyDecoder: want [1, ",
              config_.z_dim, ", t, h, w], got ", latents.sizes());
  Memory memory(levels_.size() * kBlocks);
  for (int64_t t = 0; t < latents.size(2); ++t) sink(t, frame(latents.select(2, t), memory));
}

}  // namespace tessera
