#include "batch/work_source.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr size_t kAhead = 255;  // with the current one: jobs whose prompts are encoded together

}  // namespace

std::vector<const BatchJob*> ListSource::from(size_t start, size_t count) const {
  const auto first = jobs_.begin() + static_cast<std::ptrdiff_t>(start);
  return {first, first + static_cast<std::ptrdiff_t>(std::min(count, jobs_.size() - start))};
}

std::vector<const BatchJob*> ListSource::next(size_t count, bool) {
  const auto taken = from(at_, count);
  at_ += taken.size();
  return taken;
}

std::vector<const BatchJob*> ListSource::ahead() const {
  return from(at_, kAhead);
}

bool ListSource::record(const BatchJob&, const ManifestEntry& entry) {
  manifest_.append(entry);
  ++(entry.status == "done" ? counts_.done : counts_.failed);
  return true;
}

}  // namespace tessera
