#include "metrics/statistics_file.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "weights/npz.h"

namespace tessera {
namespace {

constexpr int64_t kMostFeatures = 16384;  // 2 GiB of covariance

at::Tensor read_numbers(const NpzFile& file, const std::string& name, at::IntArrayRef shape) {
  const NpyHeader header = file.header(name);
  const at::ScalarType dtype = header.dtype(file.where());
  if (at::IntArrayRef(header.shape) != shape || (dtype != at::kDouble && dtype != at::kFloat)) {
    throw Error(c10::str(file.where(), ": want ", name, " ", shape, " of float64 or float32, found ",
                         at::IntArrayRef(header.shape), " of ", dtype));
  }
  return file.read(name).to(at::kDouble);
}

std::map<std::string, std::string> read_made_by(const NpzFile& file) {
  const auto text = file.text("tessera");
  if (!text) return {};
  const nlohmann::json parsed = nlohmann::json::parse(*text, nullptr, false);
  std::map<std::string, std::string> made_by;
  if (!parsed.is_object()) throw Error(file.where() + ": its text \"tessera\" is no JSON object: the file is damaged");
  for (const auto& [key, value] : parsed.items())
    if (value.is_string()) made_by[key] = value.get<std::string>();
  return made_by;
}

}  // namespace

void write_statistics(const std::filesystem::path& path, const StatisticsFile& statistics) {
  const Gaussian& gaussian = statistics.gaussian;
  std::map<std::string, at::Tensor> arrays{{"mu", gaussian.mean}, {"sigma", gaussian.covariance}};
  if (gaussian.count) arrays["count"] = at::scalar_tensor(*gaussian.count, at::TensorOptions().dtype(at::kLong));
  const nlohmann::json made_by = statistics.made_by;
  write_npz(path, arrays, {{"tessera", made_by.dump(-1, ' ', true)}});
}

StatisticsFile read_statistics(const std::filesystem::path& path) {
  const NpzFile file(path);
  if (!file.has("mu") || !file.has("sigma"))
    throw Error(file.where() + ": want statistics, the arrays mu and sigma, found " + file.listing());
  const NpyHeader header = file.header("mu");
  if (header.shape.size() != 1 || header.shape[0] < 1 || header.shape[0] > kMostFeatures) {
    throw Error(c10::str(file.where(), ": want mu [D] with D from 1 to ", kMostFeatures, ", found ",
                         at::IntArrayRef(header.shape)));
  }
  const int64_t D = header.shape[0];
  StatisticsFile result{{read_numbers(file, "mu", {D}), read_numbers(file, "sigma", {D, D}), {}}, read_made_by(file)};
  if (!result.gaussian.mean.isfinite().all().item<bool>() || !result.gaussian.covariance.isfinite().all().item<bool>())
    throw Error(file.where() + ": mu or sigma holds NaN or infinity, so no distance can be computed; remake it");
  // A count bounds the rank of the covariance, so only one that this program wrote is believed.
  if (!result.made_by.empty() && file.has("count")) {
    const at::Tensor count = file.read("count");
    if (count.scalar_type() != at::kLong || count.numel() != 1 || count.item<int64_t>() < 1)
      throw Error(file.where() + ": want count as one whole number above 0");
    result.gaussian.count = count.item<int64_t>();
  }
  return result;
}

bool check_comparable(const StatisticsFile& file, const std::filesystem::path& path, int64_t dims,
                      const std::map<std::string, std::string>& made_by) {
  const int64_t found = file.gaussian.mean.numel();
  if (found != dims) {
    throw Error(c10::str(path.string(), " holds statistics of ", found, " features, want ", dims,
                         ": it was made with another network or other --dims"));
  }
  for (const auto& [key, wanted] : made_by) {
    const auto said = file.made_by.find(key);
    if (key != "dtype" && said != file.made_by.end() && said->second != wanted) {
      throw Error(path.string() + " was made with " + key + " " + said->second + ", this run uses " + wanted +
                  ": the two cannot be compared; make the statistics again or choose the same " + key);
    }
  }
  return !file.made_by.empty();
}

}  // namespace tessera
