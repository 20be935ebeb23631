#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/attention/attention.h"

namespace tessera {

/// `_class_name` of the classifiers that `tessera train classifier` writes.
inline constexpr const char* kTrainedClassifierClass = "TesseraClassifier";

/// Sizes of an image classifier. `attention` is kMhla (blocks of the square grid, q and k normed, 5x5 convolution of v)
/// or kFocused (FLatten).
struct VitConfig {
  int64_t patch = 16, channels = 384, depth = 12, heads = 6, classes = 1000;
  int64_t hidden = 1536;  ///< of the MLP
  int64_t grid = 16;      ///< tokens a side
  int64_t image = 224;    ///< pixels a side that it takes; less than grid * patch is framed with zeros
  AttentionKind attention = AttentionKind::kMhla;
  int64_t block = 4;   ///< tokens a side of an MHLA block
  double power = 3;    ///< of FLatten's map
  int64_t kernel = 5;  ///< of the convolution of v
  double norm_eps = 1e-6;
  /// Of classifiers trained here: the attention of an image transformer (see make_image_attention) in every layer; then
  /// `attention`, `block`, `power` and `kernel` do not count.
  std::optional<AttentionConfig> self_attention{};

  /// The config.json of a classifier trained here: {"image": 32, "patch": 1, "channels": 64, "heads": 4, "depth": 4,
  /// "hidden": 256, "classes": 10, "attention": {...}}, an AttentionConfig. The grid is image / patch. Throws Error
  /// naming the file and key.
  static VitConfig from_json(const JsonConfig& json);
};

/// A vision transformer without class token: patches, learned positions, blocks, mean over the tokens, LayerNorm, head.
/// Names are timm's (patch_embed.proj, pos_embed, blocks.N.norm1, mlp.fc1, fc_norm, head); the attention's are those of
/// ImageMhla, FocusedAttention or make_image_attention. Sources: MHLA_ViT of the MHLA repository (its blocks keep their
/// tokens grouped, which changes no number), and FLatten's attention in a DeiT.
class Vit {
 public:
  explicit Vit(const VitConfig& config);
  void params(ParamList& out, const std::string& prefix = "");
  /// [B, channels]: the mean over the tokens, before fc_norm.
  at::Tensor features(const at::Tensor& images) const;
  /// images [B, 3, S, S], normalized, S = config.image or the padded side -> logits [B, classes]. Computed in the
  /// images' dtype where that is bfloat16 or float16, else in the weights'.
  at::Tensor operator()(const at::Tensor& images) const;

 private:
  struct Block {
    LayerNorm norm1, norm2;
    std::unique_ptr<SelfAttention> attention;
    Linear fc1, fc2;
  };

  VitConfig config_;
  at::Tensor patch_weight_, patch_bias_, positions_;
  std::vector<Block> blocks_;
  LayerNorm fc_norm_;
  Linear head_;
};

}  // namespace tessera
