#pragma once

#include <memory>

#include "batch/plan.h"
#include "media/frame_writer.h"

namespace tessera {

/// The writer of a job's output. It takes the frames of all samples, one sample after another; those of a tiled output
/// lie row by row, two in a row, and the places that no sample fills are black. Throws what open_output throws.
std::unique_ptr<FrameWriter> open_job_output(const BatchJob& job);

/// Takes the frames of one sample for a writer of several: the last sample completes the output.
class SampleWriter : public FrameWriter {
 public:
  SampleWriter(FrameWriter& whole, bool is_last) : whole_(whole), is_last_(is_last) {}
  void write(const at::Tensor& frame) override { whole_.write(frame); }
  void finish() override {
    if (is_last_) whole_.finish();
  }

 private:
  FrameWriter& whole_;
  bool is_last_;
};

}  // namespace tessera
