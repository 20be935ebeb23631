#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "metrics/extractor.h"
#include "metrics/frechet.h"
#include "metrics/statistics.h"

namespace tessera {

/// One of the two sets, as metrics read it.
struct FeatureSet {
  std::string path;                                           ///< as the user named it
  Gaussian gaussian;                                          ///< its count: pictures or clips, where known
  std::string gaussian_from = "", features_from = "";         ///< for reports: "pictures", "mu, sigma", "feats"...
  std::shared_ptr<const FrechetSide> side = nullptr;          ///< of the Gaussian, where it is known already
  at::Tensor features;                                        ///< [N, D] float32; undefined: not kept
  at::Tensor logits;                                          ///< [N, classes] float32; undefined: not kept
  std::map<std::string, std::vector<int64_t>> rows_of_label;  ///< which rows are of each sub-folder
  bool is_statistics = false;                                 ///< mean and covariance were read from a file

  int64_t samples = 0;  ///< pictures or clips that were looked at

  /// Pictures or clips; 0: unknown.
  int64_t count() const { return gaussian.count.value_or(samples); }
};

/// What metrics can read of a set besides mean and covariance.
enum class SetContent { kSamples, kFeatures, kStatistics };  // single pictures or clips; their features; nothing

/// Which metrics are wanted, and their settings.
struct MetricOptions {
  std::vector<std::string> names = {"fid"};  ///< of the table's rows
  int64_t seed = 2020;                       ///< of KID's subsets, the interval and the extrapolation
  int64_t neighbors = 3;                     ///< prdc: which nearest neighbor bounds a picture's ball
  int64_t bootstrap = 0;                     ///< resamplings for the interval of FID; 0: no interval
  bool infinity = false;                     ///< FID-infinity
  bool per_class = false;                    ///< FID of sub-folders of the same name
  bool kernel_distance = false;              ///< KVD
};

/// Two sets by the same network, and what several metrics compute of them. All that it refers to must outlive it.
class SetPair {
 public:
  SetPair(const FeatureSet& generated_set, const FeatureSet& reference_set, const ExtractorInfo& extractor,
          const MetricOptions& metric_options)
      : generated(generated_set), reference(reference_set), network(extractor), options(metric_options) {}

  const FeatureSet& generated;
  const FeatureSet& reference;
  const ExtractorInfo& network;
  const MetricOptions& options;

  /// The reference's covariance, decomposed once. Throws as frechet_side does.
  const FrechetSide& reference_side() const;
  /// The Frechet distance of the two, computed once.
  double distance() const;

 private:
  mutable std::shared_ptr<const FrechetSide> reference_side_;
  mutable std::optional<double> distance_;
};

/// What a metric reads besides means and covariances.
struct MetricNeeds {
  bool features = false;   ///< each picture's or clip's features
  bool logits = false;     ///< each picture's logits of the FID Inception
  bool both_sets = false;  ///< the above of the reference too, not of the generated set alone
  bool fid = false;        ///< it refines FID, which must be wanted as well
};

/// What a metric found.
struct MetricScore {
  std::string key;              ///< in JSON
  nlohmann::ordered_json json;  ///< the value under that key
  std::string text;             ///< whole lines, for people
};

enum class SetKind { kImages, kVideos };

/// A row of the table of metrics.
struct Metric {
  std::string name;  ///< as a user asks for it: a value of --metrics, or a flag
  std::string key;   ///< in JSON
  SetKind kind;
  MetricNeeds needs;
  std::function<bool(const MetricOptions&)> wanted_by_flag;  ///< empty: wanted by its name
  std::function<MetricScore(const SetPair&)> score;          ///< throws Error when a set is too small

  bool needs_generated() const { return needs.features || needs.logits; }        ///< single pictures of it
  bool needs_reference() const { return needs_generated() && needs.both_sets; }  ///< likewise
};

/// All metrics, in the order in which they are printed.
const std::vector<Metric>& metrics();
/// The names that MetricOptions::names may hold for sets of this kind.
std::vector<std::string> metric_names(SetKind kind);

/// The rows that `options` ask for, in the table's order. Throws Error for settings out of range, an unknown name, no
/// name at all, and a refinement of a metric that is left out.
std::vector<const Metric*> choose_metrics(SetKind kind, const MetricOptions& options);

/// Throws Error when one of `chosen` needs more of a set than it has.
void check_sets(const std::vector<const Metric*>& chosen, SetContent generated, SetContent reference);

/// Whether one of `chosen` reads each picture's features, or its logits, of one of the sets.
bool any_needs_features(const std::vector<const Metric*>& chosen, bool of_reference = false);
bool any_needs_logits(const std::vector<const Metric*>& chosen, bool of_reference = false);

/// Six significant digits, as scores are printed.
std::string score_digits(double value);

}  // namespace tessera
