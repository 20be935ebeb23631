#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/job.h"
#include "media/frame_writer.h"

namespace tessera {

/// The most that a resolved job's outputs should take on a disk: raw pixels for pictures, a quarter of that for
/// videos, and some more for what surrounds them.
int64_t largest_output_bytes(const Job& job);

/// Pictures of one size that lie side by side in one output.
struct Tiling {
  int64_t columns = 1, rows = 1;
};

// The jobs from here on are resolved single outputs.

/// The writer of an output, whose frames have the size of the whole tiling; it stores the recipe in the file. Throws
/// what open_frame_writer throws.
std::unique_ptr<FrameWriter> open_output(const Job& job, const Tiling& tiling = {});

/// The files of an output: one, or one per frame.
std::vector<std::string> output_files(const Job& job);

/// "x.png exists and will be replaced": a note about the files of these outputs that exist, "" when there is none.
std::string replacement_note(std::span<const Job> jobs);

/// Saves latents in a safetensors file whose header holds the recipe and `hash` (may be empty).
void save_latents(const std::string& path, const at::Tensor& latents, const Job& job, const std::string& hash = "");

}  // namespace tessera
