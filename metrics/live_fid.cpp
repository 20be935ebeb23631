#include "metrics/live_fid.h"

#include <ATen/ATen.h>

#include "core/cancel.h"
#include "core/error.h"
#include "media/image_io.h"
#include "metrics/frechet.h"
#include "metrics/image_features.h"
#include "metrics/image_network.h"

namespace tessera {
namespace {

constexpr size_t kBatch = 16;  // pictures a call of the network

/// The network in the precision that the reference was made in, as tessera fid chooses it.
std::unique_ptr<Extractor> open_network(const LiveFidRequest& request, const Protocol& protocol,
                                        const StatisticsFile& reference, at::Device device) {
  ImageNetwork network;
  network.weights = request.weights;
  network.extractor = request.extractor;
  network.dims = reference.gaussian.mean.numel();
  return open_image_network(network, protocol, dtype_to_compare({reference.made_by}, device), device, {});
}

/// Passes frames on and runs those that have gathered through the network.
class LiveFidWriter : public FrameWriter {
 public:
  LiveFidWriter(const LiveFid& fid, std::unique_ptr<FrameWriter> writer, LiveFid::Finished finished)
      : fid_(fid), writer_(std::move(writer)), finished_(std::move(finished)) {}

  void write(const at::Tensor& frame) override {
    writer_->write(frame);
    waiting_.push_back(to_bytes(frame.cpu()));
    if (waiting_.size() == kBatch) flush();
  }
  void finish() override {
    flush();
    writer_->finish();
    finished_(at::cat(done_));
  }
  std::string note() const override { return writer_->note(); }

 private:
  void flush() {
    if (!waiting_.empty()) done_.push_back(fid_.features(waiting_));
    waiting_.clear();
  }

  const LiveFid& fid_;
  std::unique_ptr<FrameWriter> writer_;
  LiveFid::Finished finished_;
  std::vector<at::Tensor> waiting_, done_;
};

}  // namespace

LiveFid::LiveFid(const LiveFidRequest& request, at::Device device, const ScoreListener& listener)
    : reference_path_(request.reference),
      protocol_(&find_protocol(request.protocol)),
      reference_(read_statistics(request.reference)),
      extractor_(open_network(request, *protocol_, reference_, device)) {
  check_arrays(reference_path_, {.statistics = reference_}, dims(), made_by(), listener);
  frechet_side(reference_.gaussian, reference_path_);  // what is no covariance fails before the rendering
}

MadeBy LiveFid::made_by() const {
  const ExtractorInfo& network = extractor_->info();
  return {{"protocol", protocol_->name},
          {"weights", network.sha256},
          {"extractor-size", std::to_string(network.side)},
          {"dtype", network.dtype}};
}

at::Tensor LiveFid::features(const std::vector<at::Tensor>& pictures) const {
  std::vector<at::Tensor> resized;
  for (const at::Tensor& picture : pictures) resized.push_back(protocol_->resize(picture, kInceptionSide));
  return extractor_->features(at::stack(resized)).pool.to(at::kCPU, at::kFloat);
}

std::unique_ptr<FrameWriter> LiveFid::tap(std::unique_ptr<FrameWriter> writer, Finished finished) const {
  return std::make_unique<LiveFidWriter>(*this, std::move(writer), std::move(finished));
}

FeatureStatistics LiveFid::measure(const std::vector<ImageSource>& files) const {
  return measure_images(files, *extractor_, *protocol_, ImageSetOptions{.side = kInceptionSide},
                        [](int64_t) { throw_if_canceled(); })
      .all;
}

LiveFidScore LiveFid::score(const FeatureStatistics& statistics) const {
  const int64_t count = statistics.count();
  if (count < 2)
    throw Error("FID needs at least 2 rendered pictures or frames, got " + std::to_string(count), ExitCode::kFailed);
  return {.distance = frechet_distance(statistics.gaussian(CovarianceDivisor::kCountMinusOne), reference_.gaussian),
          .pictures = count,
          .protocol = protocol_,
          .network = extractor_->info(),
          .reference = reference_path_};
}

}  // namespace tessera
