#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace tessera {

/// What a feature network says about a batch.
struct Features {
  at::Tensor pool;    ///< [B, D] float32: what FID, KID, precision/recall and FVD compare
  at::Tensor logits;  ///< [B, classes] float32 for the inception score (1008 for the FID Inception); undefined: none
};

/// Who made a set of features; printed beside every score and stored in statistics files.
struct ExtractorInfo {
  std::string name;    ///< e.g. "FID Inception v3 (2015-12-05)", "TorchScript program custom.pt"
  std::string sha256;  ///< of the weights file, hexadecimal
  std::string dtype;   ///< of the computation: "float32", "bfloat16"
  int64_t dims = 0;    ///< D
  int64_t side = 0;    ///< height and width of the pictures that it is given (299); 0: any, it resizes itself (I3D)
  bool is_standard =
      false;  ///< the network that defines the score (FID's Inception, FVD's I3D); else the score is labeled
};

/// A feature network. Pictures: [B, 3, H, W] float32 RGB in [0, 255], as the protocol's resize left them. Videos:
/// [B, 3, T, H, W] uint8 RGB. Throws Error when the network's answer is not [B, dims] finite numbers.
class Extractor {
 public:
  virtual ~Extractor() = default;
  virtual Features features(const at::Tensor& pixels) const = 0;
  virtual const ExtractorInfo& info() const = 0;
};

}  // namespace tessera
