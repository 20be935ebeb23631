#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "metrics/image_set.h"
#include "metrics/picture_array.h"
#include "metrics/protocol.h"
#include "metrics/unreadable.h"
#include "metrics/video_tally.h"

namespace tessera {

struct ImageStreamOptions {
  int64_t side = 299;            ///< of the pictures that come out
  int threads = 1;               ///< that decode
  bool skip_unreadable = false;  ///< an unreadable file is passed over whole
  std::string matrix = "auto";   ///< of videos, see each_frame
  ArrayForm arrays = {};         ///< how pictures in arrays lie
};

/// Pictures on their way to a network: decoded and resized by threads beside it, in the order of the sources, a bounded
/// number ahead (32 of each of 64 files), so that memory does not grow with the set.
///
/// A video or an array may turn out to be damaged after some of its pictures were handed over. Where unreadable files
/// are to be passed over, each is therefore decoded twice: once to see that it can be read to its end, with no picture
/// kept, and once for its pictures. Else the caller must not use pictures of a set in which a file was unreadable.
class ImageStream {
 public:
  /// Pictures become [3, side, side] as `protocol` resizes them. Throws Error (failed) when the system refuses one of
  /// the threads.
  ImageStream(std::vector<ImageSource> sources, const Protocol& protocol, const ImageStreamOptions& options);
  /// Stops the decoders.
  ~ImageStream();

  /// What the network takes next.
  struct Batch {
    at::Tensor pixels;                ///< [B, 3, side, side] float32 in [0, 255]; undefined when B is 0
    std::vector<std::string> labels;  ///< [B], see ImageSource
    std::vector<std::string> names;   ///< [B]: the file, and #INDEX for a frame of a video or a row of an array
    int64_t sources = 0;              ///< files that were finished with this batch
  };
  /// Up to `size` pictures. False once all sources are finished and nothing is left. Throws what a decoder threw that
  /// is not about a file, e.g. std::bad_alloc.
  bool next(int64_t size, Batch& batch);

  /// Files so far that could not be decoded; each is skipped.
  const std::vector<UnreadableFile>& unreadable() const;
  /// How the videos so far were read.
  const VideoTally& videos() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera
