#include "metrics/pickled_statistics.h"

#include <ATen/ATen.h>

#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "weights/pickle_file.h"
#include "weights/shown.h"

namespace tessera {
namespace {

bool is_mean_and_covariance(const ArchiveValue& value) {
  return value.find("mu") && value.find("sigma");
}

bool is_sums(const ArchiveValue& value) {
  return value.find("raw_mean") && value.find("raw_cov") && value.find("num_items");
}

bool is_statistics(const ArchiveValue& value) {
  return is_mean_and_covariance(value) || is_sums(value);
}

/// One of the statistics in a file.
struct Chosen {
  std::string prefix;  ///< of its keys in messages: "", or "fid."
  const ArchiveValue* value;
};

std::string keys_of(const ArchiveValue& root) {
  constexpr size_t kMost = 8;
  std::vector<std::string> names;
  if (const auto* entries = root.entries())
    for (const auto& [key, value] : *entries)
      if (key.text() && names.size() < kMost) names.push_back(shown(*key.text()));
  return names.empty() ? root.description() : joined(names);
}

Chosen choose(const ArchiveValue& root, const StatisticsChoice& choice, const std::string& where) {
  if (!choice.key.empty()) {
    const ArchiveValue* found = root.find(choice.key);
    if (!found || !is_statistics(*found))
      throw Error(where + ": it has no statistics under --stats-key " + shown(choice.key) + ", only " + keys_of(root));
    return {choice.key + ".", found};
  }
  if (is_statistics(root)) return {"", &root};
  std::vector<Chosen> all;
  if (const auto* entries = root.entries())
    for (const auto& [key, value] : *entries)
      if (key.text() && is_statistics(value)) all.push_back({*key.text() + ".", &value});
  for (const Chosen& one : all)
    if (one.prefix == choice.usual + ".") return one;
  if (all.size() == 1) return all.front();
  if (all.empty())
    throw Error(where + ": want statistics, mu and sigma (EDM2) or raw_mean, raw_cov and num_items (StyleGAN), found " +
                keys_of(root));
  throw Error(where + ": it holds several statistics, " + keys_of(root) + "; choose one with --stats-key");
}

at::Tensor numbers(const Chosen& from, const std::string& key, const std::vector<int64_t>& shape,
                   const std::string& where) {
  const ArchiveValue& value = *from.value->find(key);
  const at::Tensor* found = value.tensor();
  const std::string name = from.prefix + key;
  if (!found)
    throw Error(c10::str(where, ": want ", name, " ", at::IntArrayRef(shape), " of float64 or float32, found ",
                         value.description()));
  if (found->sizes() != at::IntArrayRef(shape) ||
      (found->scalar_type() != at::kDouble && found->scalar_type() != at::kFloat))
    throw Error(c10::str(where, ": want ", name, " ", at::IntArrayRef(shape), " of float64 or float32, found ",
                         found->sizes(), " of ", found->scalar_type()));
  return found->to(at::kDouble).contiguous();
}

Gaussian read(const Chosen& from, const std::string& where) {
  const bool sums = !is_mean_and_covariance(*from.value);
  const std::string mean_key = sums ? "raw_mean" : "mu", covariance_key = sums ? "raw_cov" : "sigma";
  const at::Tensor* mean = from.value->find(mean_key)->tensor();
  const int64_t D = mean && mean->dim() == 1 ? mean->numel() : -1;
  if (D < 1 || D > kMostFeatures)
    throw Error(c10::str(where, ": want ", from.prefix, mean_key, " [D] with D from 1 to ", kMostFeatures, ", found ",
                         mean ? c10::str(mean->sizes()) : from.value->find(mean_key)->description()));
  Gaussian gaussian{numbers(from, mean_key, {D}, where), numbers(from, covariance_key, {D, D}, where), {}};
  if (!sums) return gaussian;
  const std::optional<int64_t> count = from.value->find("num_items")->integer();
  if (!count || *count < 1)
    throw Error(where + ": want " + from.prefix + "num_items as one whole number above 0, found " +
                (count ? std::to_string(*count) : from.value->find("num_items")->description()));
  const auto n = static_cast<double>(*count);
  gaussian.mean = gaussian.mean / n;
  gaussian.covariance = gaussian.covariance / n - at::outer(gaussian.mean, gaussian.mean);
  gaussian.count = count;
  return gaussian;
}

}  // namespace

StatisticsFile read_pickled_statistics(const std::filesystem::path& path, const StatisticsChoice& choice) {
  const ArchiveValue root = read_pickle(path);
  const std::string where = path.string();
  const Chosen chosen = choose(root, choice, where);
  const std::string keys =
      is_mean_and_covariance(*chosen.value)
          ? chosen.prefix + "mu, " + chosen.prefix + "sigma"
          : chosen.prefix + "raw_mean, " + chosen.prefix + "raw_cov, " + chosen.prefix + "num_items (over N)";
  return {read(chosen, where), {}, keys};
}

}  // namespace tessera
