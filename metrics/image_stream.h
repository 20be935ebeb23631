#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "metrics/image_set.h"
#include "metrics/picture_array.h"
#include "metrics/protocol.h"

namespace tessera {

/// A file that could not be decoded, and why.
struct UnreadableImage {
  std::filesystem::path path;
  std::string reason;
};

/// Pictures on their way to a network: decoded and resized by threads beside it, in the order of the sources, a bounded
/// number ahead, so that memory does not grow with the set.
class ImageStream {
 public:
  /// `threads` >= 1 decoders; pictures become [3, side, side] as `protocol` resizes them; `arrays`: how those in arrays
  /// lie. Throws Error (failed) when the system refuses one of the threads.
  ImageStream(std::vector<ImageSource> sources, const Protocol& protocol, int64_t side, int threads,
              const ArrayForm& arrays = {});
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
  const std::vector<UnreadableImage>& unreadable() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera
