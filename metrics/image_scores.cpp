#include "metrics/image_scores.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "core/cancel.h"
#include "core/device.h"
#include "core/error.h"
#include "metrics/color_record.h"
#include "metrics/image_features.h"
#include "metrics/image_set.h"

namespace tessera {
namespace {

constexpr auto kDivisor = CovarianceDivisor::kCountMinusOne;

/// One side as it was found, before any network runs.
struct Input {
  std::string path;
  ArrayInput arrays;
  std::vector<ImageSource> pictures;

  SetContent content() const {
    if (!pictures.empty()) return SetContent::kSamples;
    return arrays.features ? SetContent::kFeatures : SetContent::kStatistics;
  }
};

/// What is wanted of one side.
struct Wanted {
  bool features = false, logits = false;  ///< of every picture
  bool statistics = false;                ///< of the pictures, to be kept, even where the file has others
  std::string dump;                       ///< the file for the features; empty: none
};

/// A file's statistics are for the Frechet distance: where none is wanted, its pictures or features are the set.
Input find_input(const std::string& path, const ImageScoreRequest& request, const ScoreListener& listener,
                 bool wants_distance) {
  if (!is_array_file(path)) return {path, {}, find_images(path, listener.on_note)};
  ArrayFile held = look_into(path);
  held.statistics = held.statistics && (wants_distance || (held.pictures.empty() && held.features.empty()));
  const bool inception = request.network.extractor.empty();
  Input input{path, read_arrays(path, held, {request.stats_key, inception ? "fid" : ""}, kDivisor), {}};
  if (!held.pictures.empty()) input.pictures = {{path, "", false, held.pictures}};
  return input;
}

/// What statistics of pictures say of themselves (see MadeBy).
MadeBy made_by(const Protocol& protocol, const ExtractorInfo& network) {
  return {{"protocol", protocol.name},
          {"extractor", network.name},
          {"weights", network.sha256},
          {"extractor-size", std::to_string(network.side)},
          {"dtype", network.dtype}};
}

void check_options(const ImageScoreRequest& request, const std::vector<const Metric*>& chosen) {
  check_request(request);
  if (any_needs_logits(chosen) && (request.network.dims != 2048 || !request.network.extractor.empty()))
    throw Error("--metrics is needs the FID Inception's class logits: use --dims 2048 and no --extractor");
  if (!request.network.extractor.empty() && !request.network.weights.empty())
    throw Error("--weights names the Inception weights and cannot go together with --extractor");
}

at::ScalarType choose_network_dtype(const std::string& name, const std::vector<Input>& inputs, at::Device device) {
  if (name != "auto") return choose_dtype(name, device, at::kBFloat16, 0);
  std::vector<MadeBy> files;
  for (const Input& input : inputs)
    for (const MadeBy& record : records_of(input.arrays)) files.push_back(record);
  return dtype_to_compare(files, device);
}

/// Rounding shifts both sides alike only when both were computed in one dtype. A run that chooses its own may lack the
/// hardware for the file's, so it only says so.
void check_dtypes(const ImageScoreRequest& request, const Input& generated, const Input& reference,
                  const std::string& network_dtype, const ScoreListener& listener) {
  const std::string one = dtype_of(generated.arrays, network_dtype), other = dtype_of(reference.arrays, network_dtype);
  if (one.empty() || other.empty() || one == other) return;
  const std::string differ = generated.path + " is computed in " + one + " and " + reference.path + " in " + other +
                             ", whose rounding shifts the two differently";
  const bool measures = records_of(generated.arrays).empty() || records_of(reference.arrays).empty();
  if (request.dtype != "auto" || !measures) throw Error(differ + "; use the same --dtype for both");
  listener.note(differ + ": the score may be off by half a percent; the same --dtype for both avoids it");
}

ImageSetOptions set_options(const ImageScoreRequest& request, const Wanted& wanted) {
  ImageSetOptions set;
  set.side = request.network.side();
  set.threads =
      request.threads > 0 ? request.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  set.batch = request.batch_size > 0 ? request.batch_size : std::clamp(32 * at::get_num_threads(), 64, 512);
  set.skip_unreadable = request.skip_unreadable;
  set.matrix = request.matrix;
  set.keep_features = wanted.features;
  set.keep_logits = wanted.logits;
  set.keep_names = !wanted.dump.empty();
  set.arrays = request.arrays;
  return set;
}

/// A set of pictures, and their names where they are kept.
struct Measured {
  MeasuredImages set;
  std::vector<std::string> names;
};

Measured measure(const Input& input, const ImageSetOptions& options, const Protocol& protocol,
                 const Extractor& extractor, const ScoreListener& listener) {
  Progress progress(input.path, static_cast<int64_t>(input.pictures.size()), listener.progress);
  ImageFeatures found = measure_images(input.pictures, extractor, protocol, options, [&](int64_t files) {
    progress.advance(files);
    throw_if_canceled();
  });
  for (const UnreadableFile& file : found.unreadable) listener.note("left out: " + file.reason);
  for (const std::string& warning : found.videos.warnings()) listener.note(warning);
  if (found.all.count() < 2)
    throw Error(input.path + " has one picture; a covariance needs at least two, and a meaningful FID needs thousands");
  MeasuredImages set;
  set.path = input.path;
  set.gaussian = found.all.gaussian(kDivisor);
  set.samples = found.all.count();
  const std::string& array = input.pictures.front().array;
  set.gaussian_from = array.empty() ? "pictures" : "pictures in " + array;
  if (found.pool) {
    set.features = found.pool->rows();
    set.features_from = set.gaussian_from;
  }
  if (found.logits) set.logits = found.logits->rows();
  set.rows_of_label = std::move(found.rows_of_label);
  for (const auto& [colors, count] : found.videos.videos_of) set.videos += count;
  set.video_words = found.videos.words();
  set.tally = std::move(found.videos);
  set.unreadable = std::move(found.unreadable);
  set.seconds = found.seconds;
  return {std::move(set), std::move(found.names)};
}

void warn_of_small_set(const FeatureSet& set, int64_t dims, const ScoreListener& listener) {
  const int64_t count = set.gaussian.count.value_or(0);
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

/// The statistics of the pictures, or of a file's features, which then say what that file says.
void save(const ImageScoreRequest& request, const MeasuredImages& set, const Protocol& protocol,
          const ExtractorInfo& network, const Input& input) {
  MadeBy made = input.arrays.features ? input.arrays.features->made_by : made_by(protocol, network);
  if (!input.arrays.features) {
    made["resize"] = protocol.resize_words(network.side);
    record_colors(request.matrix, set.video_words, made);
  }
  made["source"] = set.path;
  write_statistics(request.save_stats, {set.gaussian, made});
}

/// Measures or reads one side, and keeps of it what is asked for.
MeasuredImages find_set(const Input& input, const Wanted& wanted, const ImageScoreRequest& request,
                        const Protocol& protocol, const Extractor& extractor, const ScoreListener& listener) {
  const ExtractorInfo& network = extractor.info();
  MeasuredImages set;
  set.path = input.path;
  const bool wants_pictures = wanted.features || wanted.logits || wanted.statistics || !input.arrays.statistics;
  if (!input.pictures.empty() && wants_pictures) {
    Measured measured = measure(input, set_options(request, wanted), protocol, extractor, listener);
    set = std::move(measured.set);
    if (!wanted.dump.empty()) {
      MadeBy made = made_by(protocol, network);
      record_colors(request.matrix, set.video_words, made);
      write_features(wanted.dump, set.features, measured.names, made);
    }
  } else {
    add_features(set, input.arrays);
    set.video_words = recorded_colors(request.matrix, input.path, input.arrays, listener);
  }
  if (wanted.statistics) save(request, set, protocol, network, input);
  add_statistics(set, input.arrays);
  return set;
}

std::vector<Wanted> wanted_of(const ImageScoreRequest& request, const std::vector<const Metric*>& chosen) {
  const bool alone = request.reference.empty();
  const auto side = [&](bool is_reference, const std::string& dump) {
    return Wanted{!dump.empty() || (!alone && any_needs_features(chosen, is_reference)),
                  !alone && any_needs_logits(chosen, is_reference),
                  !request.save_stats.empty() && is_reference != alone,  // the reference's, or the only set's
                  dump};
  };
  std::vector<Wanted> sides{side(false, request.dump_features)};
  if (!alone) sides.push_back(side(true, request.dump_reference_features));
  return sides;
}

}  // namespace

std::optional<ImageScores> score_images(const ImageScoreRequest& request, const ScoreListener& listener) {
  const std::vector<const Metric*> chosen = choose_metrics(SetKind::kImages, request.metrics);
  check_options(request, chosen);
  const Protocol& protocol = find_protocol(request.protocol);
  const at::Device device = open_device(request.device);
  const bool alone = request.reference.empty();
  const bool wants_distance =
      !alone && std::any_of(chosen.begin(), chosen.end(), [](const Metric* metric) { return metric->name == "fid"; });
  std::vector<Input> inputs{find_input(request.generated, request, listener, wants_distance)};
  if (!alone) inputs.push_back(find_input(request.reference, request, listener, wants_distance));
  check_kept(request, inputs.front().content(), inputs.back().content());
  if (!alone) check_sets(chosen, inputs.front().content(), inputs.back().content());
  const auto extractor = open_image_network(request.network, protocol,
                                            choose_network_dtype(request.dtype, inputs, device), device, listener);
  const ExtractorInfo& network = extractor->info();
  if (!alone) check_dtypes(request, inputs[0], inputs[1], network.dtype, listener);
  for (const Input& input : inputs)
    check_arrays(input.path, input.arrays, network.dims, made_by(protocol, network), listener);
  const std::vector<Wanted> wanted = wanted_of(request, chosen);
  std::vector<MeasuredImages> sets;
  for (size_t i = 0; i < inputs.size(); ++i)
    sets.push_back(find_set(inputs[i], wanted[i], request, protocol, *extractor, listener));
  if (alone) return {};
  for (const FeatureSet& set : sets) warn_of_small_set(set, network.dims, listener);
  ImageScores result{&protocol, network, request.metrics.seed, std::move(sets[0]), std::move(sets[1]), {}};
  const SetPair pair(result.generated, result.reference, network, request.metrics);
  for (const Metric* metric : chosen) result.scores.push_back(metric->score(pair));
  return result;
}

}  // namespace tessera
