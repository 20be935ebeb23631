#include "metrics/score_request.h"

#include "core/atomic_file.h"
#include "core/error.h"

namespace tessera {
namespace {

void check_kept_name(const std::string& flag, const std::string& name) {
  if (name.empty()) return;
  if (!name.ends_with(".npz")) throw Error(flag + " wants a name ending in .npz, got " + name);
  check_writable(name);
}

void check_dump(const std::string& flag, const std::string& file, const std::string& set, SetContent content) {
  if (!file.empty() && content != SetContent::kSamples)
    throw Error(flag + " keeps the features of " + set + ", which is a file of " +
                (content == SetContent::kFeatures ? "features already" : "statistics, without features"));
}

}  // namespace

std::vector<std::string> ScoreRequest::kept_files() const {
  std::vector<std::string> files;
  for (const std::string& file : {save_stats, dump_features, dump_reference_features})
    if (!file.empty()) files.push_back(file);
  return files;
}

ArrayInput read_arrays(const std::string& path, const ArrayFile& held, const StatisticsChoice& choice,
                       CovarianceDivisor divisor) {
  ArrayInput input;
  if (held.statistics) {
    input.statistics = read_statistics(path, choice);
    input.side = std::make_shared<const FrechetSide>(frechet_side(input.statistics->gaussian, path));
  }
  if (!held.features.empty()) input.features = read_features(path, held.features, divisor);
  return input;
}

void check_request(const ScoreRequest& request) {
  if (request.reference.empty()) {
    if (request.kept_files().empty())
      throw Error("want two sets to compare, or one and --save-stats FILE or --dump-features FILE to keep what it is");
    if (!request.dump_reference_features.empty())
      throw Error("--dump-reference-features keeps those of the second set, and there is one; want --dump-features");
  }
  check_kept_name("--save-stats", request.save_stats);
  check_kept_name("--dump-features", request.dump_features);
  check_kept_name("--dump-reference-features", request.dump_reference_features);
  if (!request.stats_key.empty() && !is_pickle(request.generated) && !is_pickle(request.reference))
    throw Error("--stats-key names statistics inside of a pickle (.pkl), and neither set is one");
}

void check_kept(const ScoreRequest& request, SetContent generated, SetContent reference) {
  const bool alone = request.reference.empty();
  if (!request.save_stats.empty() && (alone ? generated : reference) == SetContent::kStatistics)
    throw Error("--save-stats keeps the statistics of " + (alone ? request.generated : request.reference) +
                ", which is a statistics file already");
  check_dump("--dump-features", request.dump_features, request.generated, generated);
  check_dump("--dump-reference-features", request.dump_reference_features, request.reference, reference);
}

std::vector<MadeBy> records_of(const ArrayInput& input) {
  std::vector<MadeBy> records;
  if (input.statistics) records.push_back(input.statistics->made_by);
  if (input.features) records.push_back(input.features->made_by);
  return records;
}

void check_arrays(const std::string& path, const ArrayInput& input, int64_t dims, const MadeBy& made_by,
                  const ScoreListener& listener) {
  if (input.statistics) check_dims(input.statistics->gaussian.mean.numel(), path, dims);
  if (input.features) check_dims(input.features->features.size(1), path, dims);
  bool tells = true;
  for (const MadeBy& record : records_of(input)) tells = check_made_by(record, path, made_by) && tells;
  if (!tells)
    listener.note(path + " does not say how it was made; the score holds only if it was this network and protocol");
}

void add_features(FeatureSet& set, const ArrayInput& input) {
  if (!input.features) return;
  set.features = input.features->features;
  set.gaussian = input.features->gaussian;
  set.gaussian_from = set.features_from = "features in " + input.features->array;
  set.samples = set.features.size(0);
}

void add_statistics(FeatureSet& set, const ArrayInput& input) {
  if (!input.statistics) return;
  set.gaussian = input.statistics->gaussian;
  set.gaussian_from = input.statistics->keys;
  set.side = input.side;
  set.is_statistics = true;
}

std::string dtype_of(const ArrayInput& input, const std::string& otherwise) {
  const std::vector<MadeBy> records = records_of(input);
  if (records.empty()) return otherwise;
  const auto found = records.front().find("dtype");
  return found == records.front().end() ? "" : found->second;
}

}  // namespace tessera
