#include "training/epoch_batches.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <utility>

#include "training/counter_rng.h"

namespace tessera {
namespace {

/// Fisher and Yates.
template <class Item>
void shuffle_items(std::vector<Item>& items, CounterRng& rng) {
  for (size_t i = items.size(); i > 1; --i)
    std::swap(items[i - 1], items[static_cast<size_t>(rng.below(static_cast<int64_t>(i)))]);
}

}  // namespace

EpochBatches::EpochBatches(const std::vector<int64_t>& group_of, int64_t batch, uint64_t seed)
    : batch_(batch), seed_(seed) {
  TORCH_CHECK(!group_of.empty() && batch >= 1, "EpochBatches: ", group_of.size(), " items in batches of ", batch);
  std::map<int64_t, std::vector<int64_t>> groups;
  for (size_t i = 0; i < group_of.size(); ++i) groups[group_of[i]].push_back(static_cast<int64_t>(i));
  for (auto& [group, items] : groups) {
    batches_an_epoch_ += (static_cast<int64_t>(items.size()) + batch - 1) / batch;
    groups_.push_back(std::move(items));
  }
}

void EpochBatches::shuffle(int64_t epoch) {
  CounterRng rng(seed_, static_cast<uint64_t>(epoch));
  batches_.clear();
  for (std::vector<int64_t> items : groups_) {
    shuffle_items(items, rng);
    for (size_t begin = 0; begin < items.size(); begin += static_cast<size_t>(batch_))
      batches_.emplace_back(
          items.begin() + static_cast<ptrdiff_t>(begin),
          items.begin() + static_cast<ptrdiff_t>(std::min(begin + static_cast<size_t>(batch_), items.size())));
  }
  shuffle_items(batches_, rng);
  epoch_ = epoch;
}

const std::vector<int64_t>& EpochBatches::batch(int64_t index) {
  const int64_t epoch = index / batches_an_epoch_;
  if (epoch != epoch_) shuffle(epoch);
  return batches_[static_cast<size_t>(index % batches_an_epoch_)];
}

}  // namespace tessera
