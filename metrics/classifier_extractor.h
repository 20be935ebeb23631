#pragma once

#include <filesystem>

#include "metrics/extractor.h"
#include "models/vit/vit.h"

namespace tessera {

/// A classifier that `tessera train classifier` wrote, as a feature network: what it computes before its last norm and
/// layer, a picture's mean over the tokens. Pictures of any size are resized to the classifier's own (bilinear,
/// antialiased). It is not the network of FID, and scores say so.
class ClassifierExtractor : public Extractor {
 public:
  /// Throws Error naming the folder when it holds no such classifier, and as bind does.
  ClassifierExtractor(const std::filesystem::path& folder, at::Device device);

  /// pixels [B, 3, H, W] float32 in 0..255.
  Features features(const at::Tensor& pixels) const override;
  const ExtractorInfo& info() const override { return info_; }

 private:
  VitConfig config_;
  Vit model_;
  at::Device device_;
  ExtractorInfo info_;
};

}  // namespace tessera
