#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/frame_rate.h"
#include "core/progress.h"
#include "training/buckets.h"
#include "training/data_cache.h"

namespace tessera {

/// What `tessera train prepare` is asked for; zeros stand for the model's own defaults.
struct PrepareRequest {
  std::filesystem::path model;              ///< whose autoencoder and text encoder are used
  std::vector<std::filesystem::path> data;  ///< see list_data
  std::filesystem::path cache;              ///< the folder to fill
  FrameSize size;                           ///< of about so many pixels are the frames
  int64_t frames = 0;                       ///< of a clip, 1 + a multiple of the autoencoder's stride
  int64_t least_frames = 5;                 ///< shorter videos are dropped
  FrameRate fps{0, 1};
  std::string dtype = "auto";    ///< of the text encoder; the autoencoder computes in float32
  at::Device device = at::kCPU;  ///< of both
  bool skip_damaged = false;     ///< else damaged files are an error, after all others are encoded
  ProgressStyle progress = ProgressStyle::kNone;
};

struct PrepareResult {
  DataCache cache;
  int64_t encoded = 0, kept = 0;   ///< clips made now, and those that were there
  int64_t enlarged = 0;            ///< items smaller than their bucket
  std::vector<std::string> notes;  ///< what was not used of items that were kept, a line each
};

/// Decodes, resamples, cuts and encodes data sets into a cache. What is there already, for the same bytes, networks and
/// settings, is not made again, so an interrupted preparation goes on where it was; files of other settings stay and
/// are not listed. Every item that is not used is in cache.dropped, and everything cut off in notes. Throws Error for
/// unusable settings; after the work, one that names all damaged files unless they are skipped.
PrepareResult prepare_data(const PrepareRequest& request);

}  // namespace tessera
