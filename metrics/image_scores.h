#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metrics/extractor.h"
#include "metrics/image_network.h"
#include "metrics/image_stream.h"
#include "metrics/metric.h"
#include "metrics/protocol.h"
#include "metrics/score_request.h"

namespace tessera {

/// Which sets of pictures to compare and how. A set is whatever find_images takes, or a file of arrays (see look_into).
struct ImageScoreRequest : ScoreRequest {
  MetricOptions metrics;
  std::string protocol = "pytorch-fid";  ///< see metrics/protocol.h
  ImageNetwork network;
  std::string dtype = "auto";   ///< of the Inception: as choose_dtype takes it; "auto": see dtype_to_compare
  std::string device = "auto";  ///< as open_device takes it
  int64_t batch_size = 0;       ///< pictures a call of the network; 0: by the cores
  int threads = 0;              ///< that decode; 0: one a core
  ArrayForm arrays;             ///< how pictures in arrays lie
};

/// A set of pictures, measured or read from statistics.
struct MeasuredImages : FeatureSet {
  int64_t videos = 0;                           ///< files of the set that are videos
  std::vector<UnreadableFile> unreadable = {};  ///< left out
  std::optional<double> seconds = {};           ///< of the network and the decoders; unset where none ran
  VideoTally tally = {};                        ///< how the videos were read
  std::string video_words = {};                 ///< the same in words, of files of arrays too; "" without videos
};

/// The scores and all that another person needs to repeat or to judge them.
struct ImageScores {
  const Protocol* protocol = nullptr;
  ExtractorInfo network;
  int64_t seed = 0;
  MeasuredImages generated, reference;
  std::vector<MetricScore> scores;  ///< in the order of the table of metrics
};

/// Measures the sets, keeps the statistics that are asked for, and computes the scores; without a reference it returns
/// nothing. Throws Error for options that do not fit each other or the sets, before any network runs; for files that
/// cannot be read and sets that are too small for a score; and when canceled.
std::optional<ImageScores> score_images(const ImageScoreRequest& request, const ScoreListener& listener);

}  // namespace tessera
