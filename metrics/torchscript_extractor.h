#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>

#include "metrics/extractor.h"

namespace tessera {

/// A TorchScript program (torch.jit.save) as a feature network. Loading one runs somebody's program: do it only for
/// files that the user named, or whose hash is known.
///
/// The program's forward takes the batch first; of the arguments that the field's detectors have, rescale, resize and
/// return_features, those that it has are given as true, and any other must have a default. It returns floating [B, D].
/// Pictures: [B, 3, H, W] float32 in [0, 255]. Videos: [B, 3, T, H, W] uint8.
class TorchScriptExtractor : public Extractor {
 public:
  /// `example`: the shape of one input, e.g. {1, 3, 16, 64, 64} for videos, which is tried at once to learn D; 5 sizes
  /// mean videos, 4 pictures. `sha256` is the file's; `standard_name` names the network when it is the one that
  /// defines the score, else it is empty. Throws Error naming the file when it is no TorchScript archive, when its
  /// forward takes other arguments, or when the example fails.
  TorchScriptExtractor(const std::filesystem::path& path, const std::string& sha256, const std::string& standard_name,
                       at::IntArrayRef example, at::Device device = at::kCPU);
  ~TorchScriptExtractor() override;

  /// Throws Error naming the file when the program fails, or answers anything but finite [B, dims].
  Features features(const at::Tensor& pixels) const override;
  const ExtractorInfo& info() const override { return info_; }

 private:
  at::Tensor run(const at::Tensor& pixels) const;

  struct Program;
  std::unique_ptr<Program> program_;
  std::filesystem::path path_;
  at::Device device_;
  ExtractorInfo info_;
};

}  // namespace tessera
