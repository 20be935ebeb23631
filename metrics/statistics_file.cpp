#include "metrics/statistics_file.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "metrics/array_file.h"
#include "metrics/pickled_statistics.h"
#include "weights/npz.h"

namespace tessera {
namespace {

constexpr double kNoise = 1e-5;  // of the largest element; a covariance that was stored in float32 reaches 1e-7

at::Tensor read_numbers(const NpzFile& file, const std::string& name, at::IntArrayRef shape) {
  const NpyHeader header = file.header(name);
  const at::ScalarType dtype = header.dtype(file.where());
  if (at::IntArrayRef(header.shape) != shape || (dtype != at::kDouble && dtype != at::kFloat)) {
    throw Error(c10::str(file.where(), ": want ", name, " ", shape, " of float64 or float32, found ",
                         at::IntArrayRef(header.shape), " of ", dtype));
  }
  return file.read(name).to(at::kDouble);
}

StatisticsFile read_archive(const std::filesystem::path& path) {
  const NpzFile file(path);
  if (!file.has("mu") || !file.has("sigma"))
    throw Error(file.where() + ": want statistics, the arrays mu and sigma, found " + file.listing());
  const NpyHeader header = file.header("mu");
  if (header.shape.size() != 1 || header.shape[0] < 1 || header.shape[0] > kMostFeatures) {
    throw Error(c10::str(file.where(), ": want mu [D] with D from 1 to ", kMostFeatures, ", found ",
                         at::IntArrayRef(header.shape)));
  }
  const int64_t D = header.shape[0];
  StatisticsFile result{
      {read_numbers(file, "mu", {D}), read_numbers(file, "sigma", {D, D}), {}}, read_made_by(file), "mu, sigma"};
  // A count bounds the rank of the covariance, so only one that this program wrote is believed.
  if (!result.made_by.empty() && file.has("count")) {
    const at::Tensor count = file.read("count");
    if (count.scalar_type() != at::kLong || count.numel() != 1 || count.item<int64_t>() < 1)
      throw Error(file.where() + ": want count as one whole number above 0");
    result.gaussian.count = count.item<int64_t>();
  }
  return result;
}

/// What is wrong in a way that needs no decomposition; the rest is found by frechet_side.
void check_numbers(const Gaussian& gaussian, const std::string& where) {
  const at::Tensor& covariance = gaussian.covariance;
  if (!gaussian.mean.isfinite().all().item<bool>() || !covariance.isfinite().all().item<bool>())
    throw Error(where + ": its mean or covariance holds NaN or infinity, so no distance can be computed; remake it");
  const double noise = kNoise * covariance.abs().max().item<double>();
  if ((covariance - covariance.t()).abs().max().item<double>() > noise)
    throw Error(where + ": its covariance is not symmetric, so it is no covariance; remake it");
  if (const double least = covariance.diagonal().min().item<double>(); least < -noise)
    throw Error(c10::str(where, ": its covariance has the variance ", least, " on its diagonal; remake it"));
}

}  // namespace

void write_statistics(const std::filesystem::path& path, const StatisticsFile& statistics) {
  const Gaussian& gaussian = statistics.gaussian;
  std::map<std::string, at::Tensor> arrays{{"mu", gaussian.mean}, {"sigma", gaussian.covariance}};
  if (gaussian.count) arrays["count"] = at::scalar_tensor(*gaussian.count, at::TensorOptions().dtype(at::kLong));
  write_npz(path, arrays, {{kMadeByArray, made_by_text(statistics.made_by)}});
}

StatisticsFile read_statistics(const std::filesystem::path& path, const StatisticsChoice& choice) {
  StatisticsFile file = is_pickle(path) ? read_pickled_statistics(path, choice) : read_archive(path);
  check_numbers(file.gaussian, path.string());
  return file;
}

void check_dims(int64_t found, const std::filesystem::path& path, int64_t dims) {
  if (found != dims)
    throw Error(c10::str(path.string(), " holds statistics of ", found, " features, want ", dims,
                         ": it was made with another network or other --dims"));
}

bool check_comparable(const StatisticsFile& file, const std::filesystem::path& path, int64_t dims,
                      const MadeBy& made_by) {
  check_dims(file.gaussian.mean.numel(), path, dims);
  return check_made_by(file.made_by, path, made_by);
}

}  // namespace tessera
