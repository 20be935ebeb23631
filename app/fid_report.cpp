#include "app/fid_report.h"

#include <cstdio>
#include <sstream>

#include "core/error.h"
#include "metrics/frechet.h"
#include "metrics/inception_score.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kDivisor = CovarianceDivisor::kCountMinusOne;
constexpr int64_t kInceptionSplits = 10, kInfinityPoints = 15;
constexpr uint32_t kToolSeed = 2020;  // torch-fidelity's order of pictures for the inception score

std::string number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

const at::Tensor rows_of(const FidSide& side) {
  return side.images->pool->rows();
}

std::vector<ClassDistance> score_classes(const FidSide& generated, const FidSide& reference) {
  std::set<std::string> names;
  for (const FidSide* side : {&generated, &reference})
    for (const auto& [name, rows] : side->images->rows_of_label)
      if (!name.empty()) names.insert(name);
  if (names.empty()) throw Error("--per-class: neither set has sub-folders; want one sub-folder a class on both sides");
  std::vector<ClassDistance> scores;
  for (const std::string& name : names) {
    std::vector<Gaussian> sides;
    ClassDistance score{name, 0, 0, {}};
    for (const FidSide* side : {&generated, &reference}) {
      const auto found = side->images->rows_of_label.find(name);
      const int64_t count = found == side->images->rows_of_label.end() ? 0 : static_cast<int64_t>(found->second.size());
      (side == &generated ? score.generated : score.reference) = count;
      if (count >= 2) sides.push_back(statistics_of(rows_of(*side), found->second).gaussian(kDivisor));
    }
    if (sides.size() == 2) score.distance = frechet_distance(sides[0], sides[1]);
    scores.push_back(score);
  }
  return scores;
}

void score_kernel_distance(const FidOptions& options, const FidSide& generated, const FidSide& reference,
                           FidScores& scores) {
  scores.kid_subset = std::min({KidOptions{}.subset_size, generated.count(), reference.count()});
  if (scores.kid_subset < 2) throw Error("kid needs two pictures on both sides");
  scores.kid = kernel_distance(rows_of(generated), rows_of(reference),
                               {KidOptions{}.subsets, scores.kid_subset, static_cast<uint32_t>(options.seed)});
}

Json side_json(const FidSide& side) {
  Json unreadable = Json::array();
  if (side.images)
    for (const UnreadableImage& file : side.images->unreadable)
      unreadable.push_back({{"path", file.path.string()}, {"reason", file.reason}});
  Json out{{"path", side.path},
           {"images", side.count() > 0 ? Json(side.count()) : Json()},
           {"statistics_file", !side.images.has_value()},
           {"videos", side.videos},
           {"unreadable", unreadable}};
  if (side.images)
    out["images_per_second"] = side.images->seconds > 0 ? static_cast<double>(side.count()) / side.images->seconds : 0;
  return out;
}

std::string fid_name(const ExtractorInfo& info) {
  if (!info.is_standard) return "Frechet distance (not FID: the network's weights are not the published ones)";
  return info.dims == 2048 ? "FID" : "FID of " + std::to_string(info.dims) + " features (not the usual 2048)";
}

}  // namespace

std::set<std::string> FidOptions::metric_set() const {
  std::set<std::string> chosen;
  std::istringstream names(metrics);
  for (std::string name; std::getline(names, name, ',');) {
    const std::vector<std::string> known = {"fid", "kid", "is", "prdc"};
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw Error("--metrics: unknown value \"" + name + "\"" + suggestion(name, known));
    chosen.insert(name);
  }
  if (chosen.empty()) throw Error("--metrics wants one or more of fid, kid, is, prdc, with commas between");
  return chosen;
}

FidScores score_sets(const FidOptions& options, const FidSide& generated, const FidSide& reference) {
  const std::set<std::string> wanted = options.metric_set();
  FidScores scores;
  if (wanted.contains("fid")) {
    const FrechetSide against = frechet_side(reference.gaussian, reference.path);
    scores.fid = frechet_distance(frechet_side(generated.gaussian, generated.path), against);
    if (options.bootstrap > 0)
      scores.interval = bootstrap_interval(rows_of(generated), against, kDivisor, *scores.fid, options.bootstrap,
                                           static_cast<uint32_t>(options.seed));
    if (options.infinity)
      scores.infinity =
          fid_infinity(rows_of(generated), against, kDivisor, kInfinityPoints, static_cast<uint32_t>(options.seed));
  }
  if (wanted.contains("kid")) score_kernel_distance(options, generated, reference, scores);
  if (wanted.contains("is"))
    scores.inception = inception_score(generated.images->logits->rows(), kInceptionSplits, kToolSeed);
  if (wanted.contains("prdc"))
    scores.neighbors = neighbor_scores(rows_of(generated), rows_of(reference), options.neighbors);
  if (options.per_class) scores.classes = score_classes(generated, reference);
  return scores;
}

nlohmann::ordered_json fid_json(const FidOptions& options, const Protocol& protocol, const ExtractorInfo& info,
                                const FidSide& generated, const FidSide& reference, const FidScores& scores) {
  Json out{{"protocol", protocol.name},
           {"resize", protocol.resize_words},
           {"exif_orientation", "ignored"},
           {"is_fid", info.is_standard && info.dims == 2048},
           {"extractor", {{"name", info.name}, {"sha256", info.sha256}, {"dtype", info.dtype}, {"dims", info.dims}}},
           {"covariance", "over N - 1"},
           {"seed", options.seed},
           {"generated", side_json(generated)},
           {"reference", side_json(reference)}};
  if (scores.fid) out["fid"] = *scores.fid;
  if (scores.interval)
    out["fid_interval_95"] = {{"low", scores.interval->low},
                              {"high", scores.interval->high},
                              {"std", scores.interval->deviation},
                              {"replicates", options.bootstrap}};
  if (scores.infinity)
    out["fid_infinity"] = {{"value", scores.infinity->value},
                           {"slope", scores.infinity->slope},
                           {"counts", scores.infinity->counts},
                           {"distances", scores.infinity->distances}};
  if (scores.kid)
    out["kid"] = {{"mean", scores.kid->mean},
                  {"std", scores.kid->deviation},
                  {"subsets", KidOptions{}.subsets},
                  {"subset_size", scores.kid_subset}};
  if (scores.inception)
    out["is"] = {{"mean", scores.inception->mean}, {"std", scores.inception->deviation}, {"splits", kInceptionSplits}};
  if (scores.neighbors)
    out["prdc"] = {{"precision", scores.neighbors->precision}, {"recall", scores.neighbors->recall},
                   {"f_score", scores.neighbors->f_score},     {"density", scores.neighbors->density},
                   {"coverage", scores.neighbors->coverage},   {"neighbours", options.neighbors}};
  if (!scores.classes.empty()) {
    out["classes"] = Json::array();
    for (const ClassDistance& score : scores.classes)
      out["classes"].push_back({{"name", score.name},
                                {"fid", score.distance ? Json(*score.distance) : Json()},
                                {"generated", score.generated},
                                {"reference", score.reference}});
  }
  return out;
}

std::string fid_text(const FidOptions& options, const Protocol& protocol, const ExtractorInfo& info,
                     const FidSide& generated, const FidSide& reference, const FidScores& scores) {
  std::ostringstream out;
  if (scores.fid) out << fid_name(info) << " " << number(*scores.fid) << "\n";
  if (scores.interval)
    out << "  95 % from " << number(scores.interval->low) << " to " << number(scores.interval->high) << " ("
        << options.bootstrap << " resamplings of the generated set)\n";
  if (scores.infinity)
    out << "FID-infinity " << number(scores.infinity->value) << " (line through " << scores.infinity->counts.size()
        << " sizes of the generated set)\n";
  if (scores.kid)
    out << "KID " << number(scores.kid->mean) << " +- " << number(scores.kid->deviation) << " (" << KidOptions{}.subsets
        << " subsets of " << scores.kid_subset << ")\n";
  if (scores.inception)
    out << "IS " << number(scores.inception->mean) << " +- " << number(scores.inception->deviation) << " ("
        << kInceptionSplits << " splits)\n";
  if (scores.neighbors)
    out << "precision " << number(scores.neighbors->precision) << ", recall " << number(scores.neighbors->recall)
        << ", density " << number(scores.neighbors->density) << ", coverage " << number(scores.neighbors->coverage)
        << " (" << options.neighbors << " neighbors)\n";
  for (const ClassDistance& score : scores.classes)
    out << "class " << score.name << ": " << (score.distance ? number(*score.distance) : "too few pictures") << " ("
        << score.generated << " against " << score.reference << ")\n";
  for (const FidSide* side : {&generated, &reference}) {
    out << (side == &generated ? "generated  " : "reference  ") << side->path << ", "
        << (side->count() > 0 ? std::to_string(side->count()) : "unknown number of") << " images";
    if (side->images && !side->images->unreadable.empty())
      out << ", " << side->images->unreadable.size() << " files unreadable";
    out << "\n";
  }
  out << protocol.name << " protocol: " << protocol.resize_words << "; " << info.name << ", " << info.dims
      << " features in " << info.dtype << ", SHA-256 " << info.sha256.substr(0, 12) << "\n";
  return out.str();
}

}  // namespace tessera
