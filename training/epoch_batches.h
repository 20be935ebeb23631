#pragma once

#include <cstdint>
#include <vector>

namespace tessera {

/// The order in which a training set is gone through: in each epoch every item once, in batches of items of one group
/// (of one size), in an order that depends on the seed and the epoch alone.
class EpochBatches {
 public:
  /// `group_of` [N] says which items are alike; the last batch of a group in an epoch may be smaller than `batch`.
  /// Throws c10::Error without items or for batch < 1.
  EpochBatches(const std::vector<int64_t>& group_of, int64_t batch, uint64_t seed);

  /// The items of batch `index` >= 0, counted over all epochs.
  const std::vector<int64_t>& batch(int64_t index);
  int64_t batches_an_epoch() const { return batches_an_epoch_; }

 private:
  void shuffle(int64_t epoch);

  std::vector<std::vector<int64_t>> groups_;
  int64_t batch_, batches_an_epoch_ = 0;
  uint64_t seed_;
  int64_t epoch_ = -1;
  std::vector<std::vector<int64_t>> batches_;  // of epoch_
};

}  // namespace tessera
