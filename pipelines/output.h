#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "checkpoints/wan/model.h"
#include "core/job.h"
#include "core/progress.h"
#include "media/frame_writer.h"

namespace tessera {

/// The most that the outputs of a completed job should take on a disk: raw pixels for pictures, a quarter of that for
/// videos, and some more for what surrounds them.
int64_t largest_output_bytes(const Job& job);

/// The writer of a completed job's output `i` (see output_name), which carries the recipe. Throws what
/// open_frame_writer throws.
std::unique_ptr<FrameWriter> open_output(const Job& job, int64_t i);

/// Decodes normalized latents, in tiles where the job says so, into the writer and completes it. Returns "" or, with
/// the output not completed, what is wrong with the frames (see FrameCheck). Throws Error when a stop was asked for or
/// a write fails.
std::string decode_to(FrameWriter& writer, const WanModel& model, const Loaded<WanVae>& vae, const at::Tensor& latents,
                      Progress& progress, const Job& job);

/// The files of output `i` of a completed job: one, or one a frame.
std::vector<std::string> output_files(const Job& job, int64_t i);

/// Keeps latents in a safetensors file whose header holds the recipe of output `i` and `hash` (may be empty).
void save_latents(const std::string& path, const at::Tensor& latents, const Job& job, int64_t i,
                  const std::string& hash = "");

}  // namespace tessera
