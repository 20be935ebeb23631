#include "metrics/image_scores.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "core/cancel.h"
#include "core/device.h"
#include "core/error.h"
#include "metrics/image_features.h"
#include "metrics/image_set.h"

namespace tessera {
namespace {

using MadeBy = std::map<std::string, std::string>;

/// One side as it was found, before any network runs.
struct Input {
  std::string path;
  std::optional<StatisticsFile> statistics;
  std::vector<ImageSource> pictures;
};

bool is_statistics(const std::string& path) {
  return path.ends_with(".npz") && !is_picture_array(path);
}

Input find_input(const std::string& path) {
  if (is_statistics(path)) return {path, read_statistics(path), {}};
  return {path, {}, find_images(path)};
}

/// What statistics of pictures say of themselves (see StatisticsFile).
MadeBy made_by(const Protocol& protocol, const ExtractorInfo& network) {
  return {
      {"protocol", protocol.name}, {"extractor", network.name}, {"weights", network.sha256}, {"dtype", network.dtype}};
}

void check_options(const ImageScoreRequest& request, const std::vector<const Metric*>& chosen) {
  const bool alone = request.reference.empty();
  check_request(request, is_statistics(alone ? request.generated : request.reference));
  check_sets(chosen, is_statistics(request.generated), !alone && is_statistics(request.reference));
  if (any_needs_logits(chosen) && (request.network.dims != 2048 || !request.network.extractor.empty()))
    throw Error("--metrics is needs the FID Inception's class logits: use --dims 2048 and no --extractor");
  if (!request.network.extractor.empty() && !request.network.weights.empty())
    throw Error("--weights names the Inception weights and cannot go together with --extractor");
}

at::ScalarType choose_network_dtype(const std::string& name, const std::vector<Input>& inputs, at::Device device) {
  if (name != "auto") return choose_dtype(name, device, at::kBFloat16, 0);
  std::vector<StatisticsFile> statistics;
  for (const Input& input : inputs)
    if (input.statistics) statistics.push_back(*input.statistics);
  return dtype_to_compare(statistics, device);
}

ImageSetOptions set_options(const ImageScoreRequest& request, const std::vector<const Metric*>& chosen) {
  ImageSetOptions set;
  set.side = request.network.side();
  set.threads =
      request.threads > 0 ? request.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  set.batch = request.batch_size > 0 ? request.batch_size : std::clamp(32 * at::get_num_threads(), 64, 512);
  set.skip_unreadable = request.skip_unreadable;
  set.keep_features = any_needs_features(chosen);
  set.keep_logits = any_needs_logits(chosen);
  return set;
}

MeasuredImages measure(const Input& input, const ImageSetOptions& options, const Protocol& protocol,
                       const Extractor& extractor, const ScoreListener& listener) {
  Progress progress(input.path, static_cast<int64_t>(input.pictures.size()), listener.progress);
  ImageFeatures found = measure_images(input.pictures, extractor, protocol, options, [&](int64_t files) {
    progress.advance(files);
    throw_if_canceled();
  });
  for (const UnreadableImage& file : found.unreadable) listener.note("left out: " + file.reason);
  if (found.all.count() < 2)
    throw Error(input.path + " has one picture; a covariance needs at least two, and a meaningful FID needs thousands");
  MeasuredImages set;
  set.path = input.path;
  set.gaussian = found.all.gaussian(CovarianceDivisor::kCountMinusOne);
  if (found.pool) set.features = found.pool->rows();
  if (found.logits) set.logits = found.logits->rows();
  set.rows_of_label = std::move(found.rows_of_label);
  for (const ImageSource& source : input.pictures) set.videos += source.is_video;
  set.unreadable = std::move(found.unreadable);
  set.seconds = found.seconds;
  return set;
}

void warn_of_small_set(const FeatureSet& set, int64_t dims, const ScoreListener& listener) {
  const int64_t count = set.count();
  if (count == 0 || count >= 10000) return;
  const std::string many = set.path + " has " + std::to_string(count) + " images; ";
  if (count >= 2048)
    listener.note(many + "below 10,000 the bias of FID is still noticeable; published scores use 10,000 or 50,000");
  else
    listener.note(many +
                  (count <= dims ? "fewer than features, so the covariance is singular and FID is far too high"
                                 : "small sets bias FID upward") +
                  ": compare it only with scores of equally many images, or use --metrics kid, which has no such bias");
}

void save(const std::string& file, const FeatureSet& set, const Protocol& protocol, const ExtractorInfo& network) {
  MadeBy made = made_by(protocol, network);
  made["resize"] = protocol.resize_words;
  made["source"] = set.path;
  write_statistics(file, {set.gaussian, made});
}

}  // namespace

std::optional<ImageScores> score_images(const ImageScoreRequest& request, const ScoreListener& listener) {
  const std::vector<const Metric*> chosen = choose_metrics(SetKind::kImages, request.metrics);
  check_options(request, chosen);
  const Protocol& protocol = find_protocol(request.protocol);
  const at::Device device = open_device(request.device);
  std::vector<Input> inputs{find_input(request.generated)};
  if (!request.reference.empty()) inputs.push_back(find_input(request.reference));
  const auto extractor = open_image_network(request.network, protocol,
                                            choose_network_dtype(request.dtype, inputs, device), device, listener);
  const ExtractorInfo& network = extractor->info();
  const ImageSetOptions options = set_options(request, chosen);
  std::vector<MeasuredImages> sets;
  for (const Input& input : inputs)
    sets.push_back(input.statistics ? MeasuredImages{set_of_statistics(input.path, *input.statistics, network.dims,
                                                                       made_by(protocol, network), listener)}
                                    : measure(input, options, protocol, *extractor, listener));
  if (!request.save_stats.empty()) save(request.save_stats, sets.back(), protocol, network);
  if (request.reference.empty()) return {};
  for (const FeatureSet& set : sets) warn_of_small_set(set, network.dims, listener);
  ImageScores result{&protocol, network, request.metrics.seed, std::move(sets[0]), std::move(sets[1]), {}};
  const SetPair pair(result.generated, result.reference, network, request.metrics);
  for (const Metric* metric : chosen) result.scores.push_back(metric->score(pair));
  return result;
}

}  // namespace tessera
