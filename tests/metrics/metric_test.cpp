#include "metrics/metric.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/error.h"
#include "metrics/kid.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

using test::refusal_of;

/// 24 rows of 6 features and 10 logits in two classes.
FeatureSet drawn_set(uint64_t seed) {
  at::manual_seed(seed);
  FeatureSet set;
  set.path = "set " + std::to_string(seed);
  set.features = at::randn({24, 6});
  set.logits = at::randn({24, 10});
  FeatureStatistics statistics(6);
  statistics.add(set.features);
  set.gaussian = statistics.gaussian(CovarianceDivisor::kCountMinusOne);
  for (int64_t row = 0; row < 24; ++row) set.rows_of_label[row < 12 ? "cat" : "dog"].push_back(row);
  return set;
}

MetricOptions everything(SetKind kind) {
  MetricOptions options{.names = metric_names(kind)};
  options.bootstrap = 2;
  options.infinity = options.per_class = options.kernel_distance = true;
  return options;
}

const ExtractorInfo kNetwork{.name = "drawn", .sha256 = "", .dtype = "float32", .dims = 6};

TEST(Metrics, EveryRowComputesPrintsAndSaysItInJson) {
  const FeatureSet generated = drawn_set(1), reference = drawn_set(2);
  std::set<std::string> names, keys;
  for (const Metric& metric : metrics()) {
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name << " is there twice";
    EXPECT_TRUE(keys.insert(metric.key).second) << metric.key << " is there twice";
    const MetricOptions options = everything(metric.kind);
    const SetPair pair(generated, reference, kNetwork, options);
    const MetricScore score = metric.score(pair);
    EXPECT_EQ(score.key, metric.key);
    EXPECT_FALSE(score.json.empty()) << metric.name;
    ASSERT_GT(score.text.size(), 1u) << metric.name;
    EXPECT_EQ(score.text.back(), '\n') << metric.name;
    EXPECT_NE(score.text.find_first_of("0123456789"), std::string::npos) << score.text;
  }
}

TEST(Metrics, EveryRowCanBeChosen) {
  std::vector<const Metric*> chosen;
  for (const SetKind kind : {SetKind::kImages, SetKind::kVideos})
    for (const Metric* metric : choose_metrics(kind, everything(kind))) chosen.push_back(metric);
  ASSERT_EQ(chosen.size(), metrics().size());
  for (size_t i = 0; i < chosen.size(); ++i) EXPECT_EQ(chosen[i], &metrics()[i]);
}

TEST(Metrics, EveryRowRefusesStatisticsWhereItNeedsSinglePictures) {
  for (const Metric& metric : metrics()) {
    const bool generated = metric.needs.features || metric.needs.logits;
    const bool reference = generated && metric.needs.both_sets;
    const std::vector<const Metric*> chosen{&metric};
    constexpr auto kSamples = SetContent::kSamples, kStatistics = SetContent::kStatistics;
    constexpr auto kFeatures = SetContent::kFeatures;
    EXPECT_NO_THROW(check_sets(chosen, kSamples, kSamples)) << metric.name;
    EXPECT_NO_THROW(check_sets(chosen, kSamples, kFeatures)) << metric.name;
    for (const auto& [first, second, refused] : {std::tuple{kStatistics, kSamples, generated},
                                                 {kSamples, kStatistics, reference},
                                                 {kStatistics, kStatistics, generated},
                                                 {kFeatures, kSamples, metric.needs.logits}}) {
      if (!refused)
        EXPECT_NO_THROW(check_sets(chosen, first, second)) << metric.name;
      else
        EXPECT_EQ(refusal_of([&, a = first, b = second] { check_sets(chosen, a, b); }).find(metric.name), 0u)
            << metric.name;
    }
  }
}

TEST(Metrics, RefusalsNameAllThatIsMeant) {
  const auto chosen = choose_metrics(SetKind::kImages, everything(SetKind::kImages));
  constexpr auto kSamples = SetContent::kSamples, kStatistics = SetContent::kStatistics;
  EXPECT_EQ(refusal_of([&] { check_sets(chosen, kSamples, kStatistics); }),
            "kid, prdc and --per-class compare single pictures, so they need pictures or features on both sides, not "
            "statistics");
  const MetricOptions options{.names = {"fid", "is"}, .infinity = true};
  EXPECT_EQ(refusal_of([&] { check_sets(choose_metrics(SetKind::kImages, options), kStatistics, kSamples); }),
            "--fid-infinity and is look at single pictures of the first set; it must not be statistics");
  EXPECT_EQ(refusal_of([&] { check_sets(choose_metrics(SetKind::kImages, options), SetContent::kFeatures, kSamples); }),
            "is looks at the classes of single pictures, which a file of features does not hold; the first set must be "
            "pictures");
  EXPECT_EQ(refusal_of([&] {
              check_sets(choose_metrics(SetKind::kVideos, {.names = {"fvd"}, .kernel_distance = true}), kSamples,
                         kStatistics);
            }),
            "--kvd compares single clips, so it needs videos or features on both sides, not statistics");
}

TEST(Metrics, WrongChoicesAreRefused) {
  const auto refusal = [](const MetricOptions& options) {
    return refusal_of([&] { choose_metrics(SetKind::kImages, options); });
  };
  EXPECT_EQ(refusal({.names = {"kid", "kdi"}}), "--metrics: unknown value \"kdi\" (did you mean kid?)");
  EXPECT_EQ(refusal({.names = {}}), "--metrics wants one or more of fid, kid, is, prdc, separated by commas");
  EXPECT_NE(refusal({.names = {"fvd"}}).find("unknown value"), std::string::npos) << "a metric of videos";
  EXPECT_EQ(refusal({.names = {"kid"}, .bootstrap = 10, .infinity = true}),
            "--bootstrap and --fid-infinity are about fid, which --metrics leaves out");
  EXPECT_EQ(refusal({.bootstrap = 1}), "--bootstrap wants at least 2 resamples");
  EXPECT_NE(refusal({.seed = -1}).find("--seed"), std::string::npos);
}

TEST(Metrics, WhatIsKeptFollowsTheNeeds) {
  const auto keeps = [](const MetricOptions& options) {
    const auto chosen = choose_metrics(SetKind::kImages, options);
    return std::pair(any_needs_features(chosen), any_needs_logits(chosen));
  };
  EXPECT_EQ(keeps({}), std::pair(false, false));
  EXPECT_EQ(keeps({.names = {"is"}}), std::pair(false, true));
  EXPECT_EQ(keeps({.names = {"kid"}}), std::pair(true, false));
  EXPECT_EQ(keeps({.bootstrap = 2}), std::pair(true, false));
  const auto of_reference = [](const MetricOptions& options) {
    return any_needs_features(choose_metrics(SetKind::kImages, options), true);
  };
  EXPECT_TRUE(of_reference({.names = {"kid"}}));
  EXPECT_FALSE(of_reference({.bootstrap = 2}));
}

TEST(Metrics, RowsHoldTheNumbersOfTheirFunctions) {
  const FeatureSet generated = drawn_set(1), reference = drawn_set(2);
  const MetricOptions options = everything(SetKind::kImages);
  const SetPair pair(generated, reference, kNetwork, options);
  const ScoreSpread kid = kernel_distance(generated.features, reference.features, {.subset_size = 24});
  std::map<std::string, nlohmann::ordered_json> found;
  for (const Metric& metric : metrics()) found[metric.name] = metric.score(pair).json;
  EXPECT_EQ(found.at("fid"), frechet_distance(generated.gaussian, reference.gaussian));
  EXPECT_EQ(found.at("kid").at("mean"), kid.mean);
  EXPECT_EQ(found.at("prdc").at("neighbours"), 3);
  EXPECT_EQ(found.at("--per-class").size(), 2u);
}

}  // namespace
}  // namespace tessera
