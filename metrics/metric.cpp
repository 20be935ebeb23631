#include "metrics/metric.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "metrics/feature_store.h"
#include "metrics/inception_score.h"
#include "metrics/kid.h"
#include "metrics/neighbors.h"
#include "metrics/sampling_error.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kDivisor = CovarianceDivisor::kCountMinusOne;  // of image sets
constexpr int64_t kInceptionSplits = 10, kInfinityPoints = 15;
constexpr uint32_t kToolSeed = 2020;  // torch-fidelity's order of pictures for the inception score

uint32_t seed_of(const SetPair& sets) {
  return static_cast<uint32_t>(sets.options.seed);
}

struct NamedDistance {
  std::string name;
  double distance;
};

NamedDistance compute_fid(const SetPair& sets) {
  const ExtractorInfo& network = sets.network;
  std::string name = "FID";
  if (!network.is_standard)
    name = "Frechet distance (not FID: the network's weights are not the published ones)";
  else if (network.dims != 2048)
    name = "FID of " + counted(network.dims, "feature") + " (not the usual 2048)";
  return {name, sets.distance()};
}

NamedDistance compute_fvd(const SetPair& sets) {
  return {sets.network.is_standard ? "FVD" : "Frechet distance (not FVD: the network is not its I3D)", sets.distance()};
}

std::string distance_text(const NamedDistance& score) {
  return score.name + " " + score_digits(score.distance) + "\n";
}

Json distance_json(const NamedDistance& score) {
  return score.distance;
}

struct Interval {
  BootstrapInterval bounds;
  int64_t replicates;
};

Interval compute_interval(const SetPair& sets) {
  const double distance = sets.distance();
  const int64_t replicates = sets.options.bootstrap;
  return {
      bootstrap_interval(sets.generated.features, sets.reference_side(), kDivisor, distance, replicates, seed_of(sets)),
      replicates};
}

std::string interval_text(const Interval& score) {
  return "  95% interval " + score_digits(score.bounds.low) + " to " + score_digits(score.bounds.high) + " (" +
         std::to_string(score.replicates) + " bootstrap resamples of the generated set)\n";
}

Json interval_json(const Interval& score) {
  return {{"low", score.bounds.low},
          {"high", score.bounds.high},
          {"std", score.bounds.deviation},
          {"replicates", score.replicates}};
}

FidInfinity compute_infinity(const SetPair& sets) {
  return fid_infinity(sets.generated.features, sets.reference_side(), kDivisor, kInfinityPoints, seed_of(sets));
}

std::string infinity_text(const FidInfinity& score) {
  return "FID-infinity " + score_digits(score.value) + " (line through " + std::to_string(score.counts.size()) +
         " sizes of the generated set)\n";
}

Json infinity_json(const FidInfinity& score) {
  return {{"value", score.value}, {"slope", score.slope}, {"counts", score.counts}, {"distances", score.distances}};
}

struct KernelDistance {
  std::string name;
  ScoreSpread spread;
  int64_t subset_size;
};

KernelDistance kernel_distance_of(const SetPair& sets, const std::string& name, const std::string& too_few) {
  const int64_t size =
      std::min({KidOptions{}.subset_size, sets.generated.features.size(0), sets.reference.features.size(0)});
  if (size < 2) throw Error(too_few);
  const KidOptions options{.subsets = KidOptions{}.subsets, .subset_size = size, .seed = seed_of(sets)};
  return {name, kernel_distance(sets.generated.features, sets.reference.features, options), size};
}

KernelDistance compute_kid(const SetPair& sets) {
  return kernel_distance_of(sets, "KID", "kid needs two pictures on both sides");
}

KernelDistance compute_kvd(const SetPair& sets) {
  return kernel_distance_of(sets, "KVD", "--kvd needs 2 clips on both sides");
}

std::string kernel_distance_text(const KernelDistance& score) {
  return score.name + " " + score_digits(score.spread.mean) + " +- " + score_digits(score.spread.deviation) + " (" +
         std::to_string(KidOptions{}.subsets) + " subsets of " + std::to_string(score.subset_size) + ")\n";
}

Json kernel_distance_json(const KernelDistance& score) {
  return {{"mean", score.spread.mean},
          {"std", score.spread.deviation},
          {"subsets", KidOptions{}.subsets},
          {"subset_size", score.subset_size}};
}

ScoreSpread compute_inception_score(const SetPair& sets) {
  return inception_score(sets.generated.logits, kInceptionSplits, kToolSeed);
}

std::string inception_score_text(const ScoreSpread& score) {
  return "IS " + score_digits(score.mean) + " +- " + score_digits(score.deviation) + " (" +
         std::to_string(kInceptionSplits) + " splits)\n";
}

Json inception_score_json(const ScoreSpread& score) {
  return {{"mean", score.mean}, {"std", score.deviation}, {"splits", kInceptionSplits}};
}

struct Prdc {
  NeighborScores scores;
  int64_t neighbors;
};

Prdc compute_prdc(const SetPair& sets) {
  const int64_t neighbors = sets.options.neighbors;
  return {neighbor_scores(sets.generated.features, sets.reference.features, neighbors), neighbors};
}

std::string prdc_text(const Prdc& score) {
  return "precision " + score_digits(score.scores.precision) + ", recall " + score_digits(score.scores.recall) +
         ", density " + score_digits(score.scores.density) + ", coverage " + score_digits(score.scores.coverage) +
         " (" + counted(score.neighbors, "neighbor") + ")\n";
}

Json prdc_json(const Prdc& score) {
  return {{"precision", score.scores.precision}, {"recall", score.scores.recall},     {"f_score", score.scores.f_score},
          {"density", score.scores.density},     {"coverage", score.scores.coverage}, {"neighbours", score.neighbors}};
}

/// Frechet distance of the pictures in sub-folders of the same name.
struct ClassDistance {
  std::string name;
  int64_t generated = 0, reference = 0;
  std::optional<double> distance = {};  ///< unset when a side has fewer than two pictures
};

std::vector<ClassDistance> compute_classes(const SetPair& sets) {
  std::set<std::string> names;
  for (const FeatureSet* side : {&sets.generated, &sets.reference})
    for (const auto& [name, rows] : side->rows_of_label)
      if (!name.empty()) names.insert(name);
  if (names.empty()) throw Error("--per-class: neither set has sub-folders; want one sub-folder a class on both sides");
  std::vector<ClassDistance> scores;
  for (const std::string& name : names) {
    std::vector<Gaussian> sides;
    ClassDistance score{.name = name};
    for (const FeatureSet* side : {&sets.generated, &sets.reference}) {
      const auto found = side->rows_of_label.find(name);
      const int64_t count = found == side->rows_of_label.end() ? 0 : static_cast<int64_t>(found->second.size());
      (side == &sets.generated ? score.generated : score.reference) = count;
      if (count >= 2) sides.push_back(statistics_of(side->features, found->second).gaussian(kDivisor));
    }
    if (sides.size() == 2) score.distance = frechet_distance(sides[0], sides[1]);
    scores.push_back(score);
  }
  return scores;
}

std::string classes_text(const std::vector<ClassDistance>& scores) {
  return joined(scores, "", [](const ClassDistance& score) {
    return "class " + score.name + ": " + (score.distance ? score_digits(*score.distance) : "too few pictures") + " (" +
           std::to_string(score.generated) + " against " + std::to_string(score.reference) + ")\n";
  });
}

Json classes_json(const std::vector<ClassDistance>& scores) {
  Json classes = Json::array();
  for (const ClassDistance& score : scores)
    classes.push_back({{"name", score.name},
                       {"fid", score.distance ? Json(*score.distance) : Json()},
                       {"generated", score.generated},
                       {"reference", score.reference}});
  return classes;
}

/// What a row says of its metric; the functions come beside it.
struct RowHead {
  std::string name, key;
  SetKind kind = SetKind::kImages;
  MetricNeeds needs = {};
  std::function<bool(const MetricOptions&)> wanted_by_flag = {};
};

template <class Value>
Metric row(const RowHead& head, Value (*compute)(const SetPair&), std::string (*text)(const Value&),
           Json (*json)(const Value&)) {
  const auto score = [key = head.key, compute, text, json](const SetPair& sets) {
    const Value value = compute(sets);
    return MetricScore{key, json(value), text(value)};
  };
  return {head.name, head.key, head.kind, head.needs, head.wanted_by_flag, score};
}

/// "a", "a and b", "a, b and c"
std::string listed(const std::vector<std::string>& names) {
  if (names.size() < 2) return joined(names);
  return joined(std::vector<std::string>(names.begin(), names.end() - 1)) + " and " + names.back();
}

/// The names of those of `chosen` for which `is_meant` holds.
template <class IsMeant>
std::vector<std::string> names_where(const std::vector<const Metric*>& chosen, const IsMeant& is_meant) {
  std::vector<std::string> names;
  for (const Metric* metric : chosen)
    if (is_meant(*metric)) names.push_back(metric->name);
  return names;
}

std::shared_ptr<const FrechetSide> side_of(const FeatureSet& set) {
  return set.side ? set.side : std::make_shared<const FrechetSide>(frechet_side(set.gaussian, set.path));
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const FrechetSide& SetPair::reference_side() const {
  if (!reference_side_) reference_side_ = side_of(reference);
  return *reference_side_;
}

double SetPair::distance() const {
  if (!distance_) {
    const FrechetSide& against = reference_side();
    distance_ = frechet_distance(*side_of(generated), against);
  }
  return *distance_;
}

const std::vector<Metric>& metrics() {
  static const std::vector<Metric> table = {
      row({.name = "fid", .key = "fid"}, compute_fid, distance_text, distance_json),
      row({.name = "--bootstrap",
           .key = "fid_interval_95",
           .needs = {.features = true, .fid = true},
           .wanted_by_flag = [](const MetricOptions& options) { return options.bootstrap > 0; }},
          compute_interval, interval_text, interval_json),
      row({.name = "--fid-infinity",
           .key = "fid_infinity",
           .needs = {.features = true, .fid = true},
           .wanted_by_flag = [](const MetricOptions& options) { return options.infinity; }},
          compute_infinity, infinity_text, infinity_json),
      row({.name = "kid", .key = "kid", .needs = {.features = true, .both_sets = true}}, compute_kid,
          kernel_distance_text, kernel_distance_json),
      row({.name = "is", .key = "is", .needs = {.logits = true}}, compute_inception_score, inception_score_text,
          inception_score_json),
      row({.name = "prdc", .key = "prdc", .needs = {.features = true, .both_sets = true}}, compute_prdc, prdc_text,
          prdc_json),
      row({.name = "--per-class",
           .key = "classes",
           .needs = {.features = true, .both_sets = true},
           .wanted_by_flag = [](const MetricOptions& options) { return options.per_class; }},
          compute_classes, classes_text, classes_json),
      row({.name = "fvd", .key = "score", .kind = SetKind::kVideos}, compute_fvd, distance_text, distance_json),
      row({.name = "--kvd",
           .key = "kvd",
           .kind = SetKind::kVideos,
           .needs = {.features = true, .both_sets = true},
           .wanted_by_flag = [](const MetricOptions& options) { return options.kernel_distance; }},
          compute_kvd, kernel_distance_text, kernel_distance_json),
  };
  return table;
}

std::vector<std::string> metric_names(SetKind kind) {
  std::vector<std::string> names;
  for (const Metric& metric : metrics())
    if (metric.kind == kind && !metric.wanted_by_flag) names.push_back(metric.name);
  return names;
}

std::vector<const Metric*> choose_metrics(SetKind kind, const MetricOptions& options) {
  if (options.bootstrap == 1) throw Error("--bootstrap wants at least 2 resamples");
  if (options.seed < 0 || options.seed > 0xFFFFFFFFll)
    throw Error("--seed wants a whole number from 0 to 4294967295, got " + std::to_string(options.seed));
  const std::vector<std::string> known = metric_names(kind);
  for (const std::string& name : options.names)
    if (!contains(known, name)) throw Error("--metrics: unknown value \"" + name + "\"" + suggestion(name, known));
  if (options.names.empty()) throw Error("--metrics wants one or more of " + joined(known) + ", separated by commas");
  std::vector<const Metric*> chosen;
  for (const Metric& metric : metrics()) {
    if (metric.kind != kind) continue;
    if (metric.wanted_by_flag ? metric.wanted_by_flag(options) : contains(options.names, metric.name))
      chosen.push_back(&metric);
  }
  const auto refinements = names_where(chosen, [](const Metric& metric) { return metric.needs.fid; });
  if (!refinements.empty() && !contains(options.names, "fid"))
    throw Error(listed(refinements) + (refinements.size() > 1 ? " are" : " is") +
                " about fid, which --metrics leaves out");
  return chosen;
}

void check_sets(const std::vector<const Metric*>& chosen, SetContent generated, SetContent reference) {
  const auto comparing = names_where(chosen, [](const Metric& metric) { return metric.needs_reference(); });
  const auto looking = names_where(chosen, [](const Metric& metric) { return metric.needs_generated(); });
  const bool images = !chosen.empty() && chosen.front()->kind == SetKind::kImages;
  const bool bare = generated == SetContent::kStatistics;
  if (!comparing.empty() && (bare || reference == SetContent::kStatistics))
    throw Error(listed(comparing) + (comparing.size() > 1 ? " compare" : " compares") + " single " +
                (images ? "pictures" : "clips") + ", so " + (comparing.size() > 1 ? "they need " : "it needs ") +
                (images ? "pictures" : "videos") + " or features on both sides, not statistics");
  if (!looking.empty() && bare)
    throw Error(listed(looking) + (looking.size() > 1 ? " look" : " looks") + " at single " +
                (images ? "pictures" : "clips") + " of the first set; it must not be statistics");
  const auto classifying = names_where(chosen, [](const Metric& metric) { return metric.needs.logits; });
  if (!classifying.empty() && generated == SetContent::kFeatures)
    throw Error(listed(classifying) + " looks at the classes of single pictures, which a file of features does not " +
                "hold; the first set must be pictures");
}

bool any_needs_features(const std::vector<const Metric*>& chosen, bool of_reference) {
  return std::any_of(chosen.begin(), chosen.end(), [&](const Metric* metric) {
    return metric->needs.features && (!of_reference || metric->needs.both_sets);
  });
}

bool any_needs_logits(const std::vector<const Metric*>& chosen, bool of_reference) {
  return std::any_of(chosen.begin(), chosen.end(), [&](const Metric* metric) {
    return metric->needs.logits && (!of_reference || metric->needs.both_sets);
  });
}

std::string score_digits(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

}  // namespace tessera
