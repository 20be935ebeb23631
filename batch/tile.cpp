#include "batch/tile.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "media/image_io.h"
#include "pipelines/output.h"

namespace tessera {
namespace {

constexpr int64_t kColumns = 2;

class TileWriter : public FrameWriter {
 public:
  TileWriter(std::unique_ptr<FrameWriter> whole, const Tiling& tiling) : whole_(std::move(whole)), tiling_(tiling) {}

  void write(const at::Tensor& frame) override { frames_.push_back(to_bytes(frame)); }

  void finish() override {
    const int64_t height = frames_.at(0).size(0), width = frames_[0].size(1);
    const at::Tensor whole = at::zeros({tiling_.rows * height, tiling_.columns * width, 3}, at::kByte);
    for (size_t i = 0; i < frames_.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) / tiling_.columns, column = static_cast<int64_t>(i) % tiling_.columns;
      whole.narrow(0, row * height, height).narrow(1, column * width, width).copy_(frames_[i]);
    }
    whole_->write(whole);
    whole_->finish();
  }

 private:
  std::unique_ptr<FrameWriter> whole_;
  Tiling tiling_;
  std::vector<at::Tensor> frames_;  // [H, W, 3] uint8
};

}  // namespace

std::unique_ptr<FrameWriter> open_job_output(const BatchJob& job) {
  const auto samples = static_cast<int64_t>(job.samples().size());
  if (samples == 1) return open_output(job.job);
  const Tiling tiling = {.columns = kColumns, .rows = (samples + kColumns - 1) / kColumns};
  return std::make_unique<TileWriter>(open_output(job.job, tiling), tiling);
}

}  // namespace tessera
