#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/ranks.h"
#include "core/shared_store.h"

namespace tessera {

/// The processes of a data-parallel training, which add up their gradients in a table that rank 0 hosts. Every rank
/// sends its numbers to rank 0 and reads those of all others, so this is for LoRAs and small models: LibTorch's wheel
/// has no header of a faster engine (Gloo, NCCL or MPI) that C++ could be compiled with.
class RankGroup {
 public:
  /// Rank 0 hosts the table and writes where it is to `folder`/ranks.json, which the others read; all see that folder.
  /// Throws Error when the port is taken, or no rank 0 is found within ten minutes.
  static std::unique_ptr<RankGroup> meet(const Ranks& ranks, const std::filesystem::path& folder);

  /// A rank of a table that is there; a group without one can be asked for its rank and size alone.
  RankGroup(std::unique_ptr<SharedStore> store, int rank, int size)
      : store_(std::move(store)), rank_(rank), size_(size) {}
  /// Rank 0 waits until the others have read the last sums.
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// Replaces contiguous float32 CPU tensors, of the same sizes on every rank, by their sums over the ranks, added in
  /// the order of ranks: the same bits everywhere. Every rank makes the same calls. Throws Error when a stop was
  /// requested here (as throw_if_canceled does) or by another rank, and when rank 0 is gone; then nothing has changed.
  void sum(const std::vector<at::Tensor>& values);

 private:
  std::string key(int rank, int64_t piece) const;
  void send(const std::string& bytes);
  std::string receive(int rank, size_t size);
  void check_stop();

  std::unique_ptr<SharedStore> store_;
  int rank_, size_;
  int64_t round_ = 0;
};

}  // namespace tessera
