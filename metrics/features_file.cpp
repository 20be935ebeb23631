#include "metrics/features_file.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "metrics/feature_store.h"
#include "metrics/statistics_file.h"

namespace tessera {
namespace {

constexpr int64_t kRowsAtOnce = 1024;

}  // namespace

void write_features(const std::filesystem::path& path, const at::Tensor& features,
                    const std::vector<std::string>& names, const MadeBy& made_by) {
  TORCH_CHECK(features.dim() == 2 && features.size(0) == static_cast<int64_t>(names.size()),
              "write_features: want as many names as rows, got ", names.size(), " and ", features.sizes());
  write_npz(path, {{"feats", features}}, {{kMadeByArray, made_by_text(made_by)}}, {{"names", names}});
}

FeaturesFile read_features(const std::filesystem::path& path, const std::string& name, CovarianceDivisor divisor) {
  const NpzFile file(path);
  NpzRows rows(file, name);
  const NpyHeader& header = rows.header();
  const std::string where = file.where() + ", array \"" + name + "\"";
  if (!at::isFloatingType(header.dtype(where)) || header.shape.size() != 2 || header.shape[0] < 2 ||
      header.shape[1] < 1 || header.shape[1] > kMostFeatures)
    throw Error(c10::str(where, ": want features, [N, D] of floats with N from 2 and D from 1 to ", kMostFeatures,
                         ", found ", at::IntArrayRef(header.shape), " of ", header.descr));
  FeatureStore store(header.shape[1]);
  FeatureStatistics statistics(header.shape[1]);
  while (store.count() < header.shape[0]) {
    const at::Tensor part = rows.next(kRowsAtOnce).to(at::kFloat);
    if (!part.isfinite().all().item<bool>())
      throw Error(where + ": it holds NaN or infinity, so no score can be computed; remake it");
    statistics.add(part);
    store.add(part);
  }
  return {name, store.rows(), statistics.gaussian(divisor), read_made_by(file)};
}

}  // namespace tessera
