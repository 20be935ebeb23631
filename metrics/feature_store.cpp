#include "metrics/feature_store.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "core/error.h"

namespace tessera {
namespace {

constexpr int64_t kChunk = 1024;  // rows that are widened to float64 at once

[[noreturn]] void fail(const std::string& what) {
  throw Error("cannot keep features in " + std::filesystem::temp_directory_path().string() + ": " + what + ": " +
                  std::strerror(errno) + "; free space there or point TMPDIR at another folder",
              ExitCode::kFailed);
}

}  // namespace

struct FeatureStore::File {
  File() {
    std::string name = (std::filesystem::temp_directory_path() / "tessera_features_XXXXXX").string();
    descriptor = mkostemp(name.data(), O_CLOEXEC);
    if (descriptor < 0) fail("no temporary file");
    unlink(name.c_str());
  }
  ~File() { close(descriptor); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int descriptor = -1;
};

FeatureStore::FeatureStore(int64_t dims) : file_(std::make_shared<File>()), dims_(dims) {
  TORCH_CHECK(dims >= 1, "FeatureStore: want at least 1 feature, got ", dims);
}

void FeatureStore::add(const at::Tensor& features) {
  TORCH_CHECK(features.dim() == 2 && features.size(1) == dims_ && features.is_floating_point(),
              "FeatureStore: want floating [B, ", dims_, "], got ", features.sizes(), " ", features.scalar_type());
  const at::Tensor rows = features.detach().to(at::kCPU, at::kFloat).contiguous();
  const char* bytes = static_cast<const char*>(rows.const_data_ptr());
  size_t left = rows.nbytes();
  while (left > 0) {
    const ssize_t written = write(file_->descriptor, bytes, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail("write failed");
    bytes += written, left -= static_cast<size_t>(written);
  }
  count_ += rows.size(0);
}

at::Tensor FeatureStore::rows() const {
  if (count_ == 0) return at::empty({0, dims_}, at::kFloat);
  const size_t size = static_cast<size_t>(count_ * dims_) * sizeof(float);
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, file_->descriptor, 0);
  if (mapped == MAP_FAILED) fail("mmap failed");
  return at::from_blob(
      mapped, {count_, dims_}, [size](void* start) { munmap(start, size); }, at::kFloat);
}

FeatureStatistics statistics_of(const at::Tensor& features, const std::vector<int64_t>& rows) {
  FeatureStatistics statistics(features.size(1));
  const at::Tensor index = at::tensor(rows, at::kLong);
  for (int64_t start = 0; start < index.numel(); start += kChunk)
    statistics.add(features.index_select(0, index.slice(0, start, std::min(start + kChunk, index.numel()))));
  return statistics;
}

}  // namespace tessera
