#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "media/frame_writer.h"
#include "metrics/extractor.h"
#include "metrics/image_set.h"
#include "metrics/protocol.h"
#include "metrics/score_request.h"
#include "metrics/statistics.h"
#include "metrics/statistics_file.h"

namespace tessera {

/// What pictures are compared with while they are rendered.
struct LiveFidRequest {
  std::string reference;  ///< statistics (.npz, .pkl) to compare with; empty: no score is wanted
  std::string weights;    ///< the FID Inception's file; empty: the one in the cache
  std::string extractor;  ///< a TorchScript program in its place, which this runs
  std::string protocol = "pytorch-fid";
};

/// The score, and what another person needs to judge it.
struct LiveFidScore {
  double distance = 0;
  int64_t pictures = 0;
  const Protocol* protocol = nullptr;
  ExtractorInfo network;
  std::string reference;
};

/// Scores pictures while they are rendered: every frame goes through the network as the bytes that are written, before
/// a video codec touches it.
class LiveFid {
 public:
  /// Opens the reference and the network, in the precision that the reference was made in. Throws Error when one is
  /// missing or they do not fit each other.
  LiveFid(const LiveFidRequest& request, at::Device device, const ScoreListener& listener);

  /// Takes the features of one finished output, [frames, D] float32.
  using Finished = std::function<void(const at::Tensor& features)>;
  /// A writer that passes everything on to `writer` and, once that is complete, tells `finished`. This object must
  /// outlive it.
  std::unique_ptr<FrameWriter> tap(std::unique_ptr<FrameWriter> writer, Finished finished) const;

  /// [N, D] float32 on the CPU: what the network says about pictures [H, W, 3] uint8.
  at::Tensor features(const std::vector<at::Tensor>& pictures) const;
  /// Statistics of the pictures and frames in files. Throws as measure_images does.
  FeatureStatistics measure(const std::vector<ImageSource>& files) const;

  /// Throws Error (failed) when there are fewer than 2 pictures.
  LiveFidScore score(const FeatureStatistics& statistics) const;
  /// What kept features say of themselves: they fit only a run that says the same.
  MadeBy made_by() const;
  int64_t dims() const { return extractor_->info().dims; }

 private:
  std::string reference_path_;
  const Protocol* protocol_;
  StatisticsFile reference_;
  std::unique_ptr<Extractor> extractor_;
};

}  // namespace tessera
