#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "training/data_cache.h"
#include "training/epoch_batches.h"
#include "training/flow_loss.h"

namespace tessera {

/// How a TrainingSet draws.
struct TrainingSetOptions {
  int64_t batch = 1;
  uint64_t seed = 1;
  double caption_dropout = 0.1;
  FlowTimes times;
  double validation = 0;  ///< fraction of the items held out, all clips of one together
};

/// A cache as batches: which clips, times and noise a batch has is a function of the seed and the batch's number alone.
class TrainingSet {
 public:
  /// Throws Error when too little is left besides the validation.
  TrainingSet(DataCache cache, const TrainingSetOptions& options);

  /// Batch `index` >= 0, counted over all epochs, for training.
  FlowBatch batch(int64_t index);
  /// How many clips that batch has.
  int64_t batch_size(int64_t index) { return static_cast<int64_t>(plan_->batch(index).size()); }
  int64_t batches_an_epoch() const { return plan_->batches_an_epoch(); }

  const std::vector<CachedClip>& training() const { return training_; }
  const std::vector<CachedClip>& validation() const { return validation_; }
  /// Held-out clip i at the k-th of kValidationTimes evenly spaced parts of the training times, with noise of its own:
  /// the same in every call.
  FlowBatch validation_batch(int64_t i, int64_t k) const;
  static constexpr int64_t kValidationTimes = 4;

  const DataCache& cache() const { return cache_; }

 private:
  void hold_out();

  DataCache cache_;
  TrainingSetOptions options_;
  std::vector<CachedClip> training_, validation_;
  std::optional<EpochBatches> plan_;
};

}  // namespace tessera
