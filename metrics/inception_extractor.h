#pragma once

#include <filesystem>
#include <string>

#include "metrics/extractor.h"
#include "metrics/protocol.h"
#include "metrics/weights_cache.h"
#include "models/inception/inception.h"
#include "weights/safetensors.h"

namespace tessera {

/// What FID is measured with: the Inception network of its authors.
class InceptionExtractor : public Extractor {
 public:
  /// `weights`: the tensors of pt_inception-2015-12-05-6726825d.pth under its names (its counters are ignored).
  /// `sha256` is the file's, for reports. dims: 64, 192, 768 or 2048. dtype: float32 (exact) or bfloat16 (fast).
  /// Logits come with dims 2048 alone. Throws Error when the tensors do not fit.
  InceptionExtractor(const TensorFile& weights, const std::string& sha256, const Protocol& protocol, int64_t dims,
                     at::ScalarType dtype, at::Device device = at::kCPU);

  Features features(const at::Tensor& pixels) const override;
  const ExtractorInfo& info() const override { return info_; }

 private:
  Inception inception_;
  ExtractorInfo info_;
  double scale_, shift_;
  at::Device device_;
};

/// The file `chosen` (--weights), or, when that is empty, the one of the published names or fid_inception.safetensors
/// that a cache folder holds (see metrics/weights_cache.h). Throws Error that says which file is wanted, where it comes
/// from, its hash, and where to put it.
FoundWeights find_inception_weights(const std::string& chosen);

/// The tensors of such a file: an archive of torch.save or safetensors. Throws Error.
TensorFile read_inception_weights(const std::filesystem::path& path);

}  // namespace tessera
