#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "metrics/extractor.h"
#include "metrics/feature_store.h"
#include "metrics/image_stream.h"
#include "metrics/statistics.h"

namespace tessera {

struct ImageSetOptions {
  int64_t side = 299;            ///< of the pictures that the network is given
  int64_t batch = 32;            ///< pictures a call of the network
  int threads = 1;               ///< that decode
  bool skip_unreadable = false;  ///< leave damaged files out, whole, instead of failing
  std::string matrix = "auto";   ///< of videos, see each_frame
  bool keep_features = false;    ///< for the scores that need every vector
  bool keep_logits = false;      ///< for the inception score
  bool keep_names = false;       ///< of every picture
  ArrayForm arrays = {};         ///< how pictures in arrays lie
};

/// What one set of pictures is measured to be.
struct ImageFeatures {
  explicit ImageFeatures(int64_t dims) : all(dims) {}

  FeatureStatistics all;
  std::map<std::string, std::vector<int64_t>> rows_of_label;  ///< which vectors are of each sub-folder
  std::unique_ptr<FeatureStore> pool, logits;
  std::vector<std::string> names;  ///< of every picture, see ImageStream::Batch; where they are kept
  std::vector<UnreadableFile> unreadable;
  VideoTally videos;
  double seconds = 0;
};

/// Every picture of the set through the network once, decoding beside it; a batch, the pictures ahead of it and a D x D
/// matrix are what lies in memory. `done(files)` is called as files are finished, and may throw to stop. Throws Error
/// listing the files that cannot be decoded (after looking at all of them) unless they are to be left out, and when
/// none is left. A file that is left out contributes nothing, also when it is damaged only at its end.
ImageFeatures measure_images(const std::vector<ImageSource>& sources, const Extractor& extractor,
                             const Protocol& protocol, const ImageSetOptions& options,
                             const std::function<void(int64_t files)>& done);

}  // namespace tessera
