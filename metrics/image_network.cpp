#include "metrics/image_network.h"

#include <algorithm>

#include "core/device.h"
#include "core/error.h"
#include "core/paths.h"
#include "metrics/classifier_extractor.h"
#include "metrics/inception_extractor.h"
#include "metrics/torchscript_extractor.h"
#include "metrics/weights_cache.h"

namespace tessera {
namespace {

std::unique_ptr<Extractor> open_torchscript(const ImageNetwork& network, at::Device device) {
  PublishedWeights any;
  any.what = "a TorchScript program";
  const FoundWeights found = find_weights(any, network.extractor);
  const int64_t side = network.side();
  return std::make_unique<TorchScriptExtractor>(found.path, found.sha256, "", at::IntArrayRef{1, 3, side, side},
                                                device);
}

bool is_bfloat16(const MadeBy& file) {
  const auto dtype = file.find("dtype");
  return dtype != file.end() && dtype->second == "bfloat16";
}

}  // namespace

std::unique_ptr<Extractor> open_image_network(const ImageNetwork& network, const Protocol& protocol,
                                              at::ScalarType dtype, at::Device device, const ScoreListener& listener) {
  if (is_folder(network.extractor)) return std::make_unique<ClassifierExtractor>(network.extractor, device);
  if (!network.extractor.empty()) return open_torchscript(network, device);
  const FoundWeights found = find_inception_weights(network.weights);
  auto extractor = std::make_unique<InceptionExtractor>(read_inception_weights(found.path), found.sha256, protocol,
                                                        network.dims, dtype, device);
  if (!found.published)
    listener.note(found.path.string() +
                  " is not the published file (its SHA-256 differs); scores are comparable only with "
                  "scores by the same file");
  return extractor;
}

at::ScalarType dtype_to_compare(const std::vector<MadeBy>& files, at::Device device) {
  if (!std::all_of(files.begin(), files.end(), is_bfloat16)) return at::kFloat;
  return has_fast_bfloat16(device) ? at::kBFloat16 : at::kFloat;
}

}  // namespace tessera
