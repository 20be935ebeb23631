#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "metrics/extractor.h"
#include "metrics/made_by.h"
#include "metrics/protocol.h"
#include "metrics/score_request.h"
#include "models/inception/inception.h"

namespace tessera {

/// Which network looks at pictures: the FID Inception unless `extractor` names another.
struct ImageNetwork {
  std::string weights;                      ///< the Inception's file; empty: the one in the cache
  int64_t dims = 2048;                      ///< features of the Inception: 64, 192, 768 or 2048
  std::string extractor;                    ///< in its place: a TorchScript program, which this runs, or a folder of
                                            ///< `tessera train classifier`
  int64_t extractor_side = kInceptionSide;  ///< height and width of the pictures that it is given

  /// Height and width of the pictures that the network is given.
  int64_t side() const { return extractor.empty() ? kInceptionSide : extractor_side; }
};

/// Opens it; `dtype` is the Inception's. Notes when the Inception's file is not the published one. Throws Error naming
/// a file that is absent or does not fit, and as TorchScriptExtractor does.
std::unique_ptr<Extractor> open_image_network(const ImageNetwork& network, const Protocol& protocol,
                                              at::ScalarType dtype, at::Device device, const ScoreListener& listener);

/// bfloat16 where `device` multiplies it and all of the files that are compared were made with it, else float32:
/// rounding then meets rounding. Files of another program are float32.
at::ScalarType dtype_to_compare(const std::vector<MadeBy>& files, at::Device device);

}  // namespace tessera
