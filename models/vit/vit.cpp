#include "models/vit/vit.h"

#include <ATen/ATen.h>

#include "core/size_limits.h"
#include "models/attention/focused.h"
#include "models/attention/image.h"

namespace tessera {
namespace {

std::unique_ptr<SelfAttention> attention_of(const VitConfig& config) {
  if (const auto& own = config.self_attention)
    return make_image_attention(own->kind, *own, config.heads, config.channels / config.heads, /*bias=*/true);
  if (config.attention == AttentionKind::kFocused) {
    FocusedConfig focused;
    focused.channels = config.channels;
    focused.heads = config.heads;
    focused.grid = {1, config.grid, config.grid};
    focused.power = config.power;
    focused.kernel = config.kernel;
    return std::make_unique<FocusedAttention>(focused);
  }
  TORCH_CHECK(config.attention == AttentionKind::kMhla && config.grid % config.block == 0, "Vit: a grid of ",
              config.grid, " tokens a side does not divide into blocks of ", config.block);
  AttentionConfig mhla;
  mhla.kind = AttentionKind::kMhla;
  mhla.block_layout = {1, config.grid / config.block, config.grid / config.block};
  mhla.normalizer = Normalizer::kProducts;
  mhla.qk_norm = true;
  mhla.lepe = true;
  mhla.lepe_kernel = config.kernel;
  return make_image_attention(mhla.kind, mhla, config.heads, config.channels / config.heads, /*bias=*/false);
}

/// Zeros on all sides, the same on opposite ones.
at::Tensor framed(const at::Tensor& images, int64_t side) {
  const int64_t before = (side - images.size(-1)) / 2;
  return before == 0 ? images : at::constant_pad_nd(images, {before, before, before, before});
}

}  // namespace

VitConfig VitConfig::from_json(const JsonConfig& json) {
  VitConfig config;
  config.image = read_size(json, "image", limits::kLatentSide);
  config.patch = read_size(json, "patch", limits::kPatch);
  config.channels = read_size(json, "channels", limits::kWidth);
  config.heads = read_size(json, "heads", limits::kHeads);
  config.depth = read_size(json, "depth", limits::kLayers);
  config.hidden = read_size(json, "hidden", limits::kWidth);
  config.classes = read_size(json, "classes", limits::kClasses);
  if (config.image % config.patch != 0) json.fail("image", "must be a multiple of patch");
  if (config.channels % config.heads != 0) json.fail("channels", "must be a multiple of heads");
  config.grid = config.image / config.patch;
  config.self_attention = AttentionConfig::from_json(json.object("attention"));
  if (!config.self_attention->softmax_layers.empty())
    json.object("attention").fail("softmax_layers", "must be absent: all layers of a classifier are of one kind");
  return config;
}

Vit::Vit(const VitConfig& config) : config_(config), blocks_(static_cast<size_t>(config.depth)) {
  TORCH_CHECK((config.grid * config.patch - config.image) % 2 == 0, "Vit: an image of ", config.image,
              " pixels cannot be centered on ", config.grid * config.patch);
  for (Block& block : blocks_) {
    block.norm1.eps = block.norm2.eps = config.norm_eps;
    block.attention = attention_of(config);
  }
  fc_norm_.eps = config.norm_eps;
}

void Vit::params(ParamList& out, const std::string& prefix) {
  const int64_t C = config_.channels;
  out.add(prefix + "patch_embed.proj.weight", patch_weight_, {C, 3, config_.patch, config_.patch});
  out.add(prefix + "patch_embed.proj.bias", patch_bias_, {C}, Init::zeros());
  out.add_float(prefix + "pos_embed", positions_, {1, config_.grid * config_.grid, C});
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const std::string at = prefix + "blocks." + std::to_string(i) + ".";
    blocks_[i].norm1.params(out, at + "norm1.", C);
    blocks_[i].attention->params(out, at + "attn.");
    blocks_[i].norm2.params(out, at + "norm2.", C);
    blocks_[i].fc1.params(out, at + "mlp.fc1.", C, config_.hidden);
    blocks_[i].fc2.params(out, at + "mlp.fc2.", config_.hidden, C);
  }
  fc_norm_.params(out, prefix + "fc_norm.", C);
  head_.params(out, prefix + "head.", C, config_.classes);
}

at::Tensor Vit::features(const at::Tensor& images) const {
  const int64_t side = config_.grid * config_.patch;
  TORCH_CHECK(images.dim() == 4 && images.size(2) == images.size(3) &&
                  (images.size(3) == config_.image || images.size(3) == side),
              "Vit: want [B, 3, ", config_.image, ", ", config_.image, "], got ", images.sizes());
  const bool narrow = images.scalar_type() == at::kBFloat16 || images.scalar_type() == at::kHalf;
  const auto dtype = narrow ? images.scalar_type() : patch_weight_.scalar_type();
  const at::Tensor patches = at::conv2d(framed(images, side).to(dtype), patch_weight_.to(dtype), patch_bias_.to(dtype),
                                        config_.patch)
                                 .flatten(2)
                                 .mT();  // [B, N, C]
  at::Tensor x = patches + positions_.to(dtype);
  const AttentionInput input{{1, config_.grid, config_.grid}, {}};
  for (const Block& block : blocks_) {
    x = x + (*block.attention)(block.norm1(x), input);
    x = x + block.fc2(at::gelu(block.fc1(block.norm2(x))));
  }
  return x.mean(1);
}

at::Tensor Vit::operator()(const at::Tensor& images) const {
  return head_(fc_norm_(features(images)));
}

}  // namespace tessera
