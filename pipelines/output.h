#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "core/job.h"
#include "media/frame_writer.h"

namespace tessera {

/// The most that the outputs of a resolved job should take on a disk: raw pixels for pictures, a quarter of that for
/// videos, and some more for what surrounds them.
int64_t largest_output_bytes(const Job& job);

/// Pictures of one size that lie side by side in one output.
struct Tiling {
  int64_t columns = 1, rows = 1;
};

/// The writer of a resolved job's output `i` (see output_name), which carries the recipe; its frames have the size of
/// the whole tiling. Throws what open_frame_writer throws.
std::unique_ptr<FrameWriter> open_output(const Job& job, int64_t i, const Tiling& tiling = {});

/// The files of output `i` of a resolved job: one, or one a frame.
std::vector<std::string> output_files(const Job& job, int64_t i);

/// Keeps latents in a safetensors file whose header holds the recipe of output `i` and `hash` (may be empty).
void save_latents(const std::string& path, const at::Tensor& latents, const Job& job, int64_t i,
                  const std::string& hash = "");

}  // namespace tessera
