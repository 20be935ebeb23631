// block_attention where tokens are many: whole summaries of a few heads at a time.
#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/block_call.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

template <typename Value>
class BlockSummaries {
 public:
  explicit BlockSummaries(BlockCall<Value>& call)
      : call_(call),
        slots_(slots_of(call.heads(), summary_bytes() + mixed_bytes())),
        scratch_(slots_ * (summary_bytes() + mixed_bytes())) {
    call_.keep_normalizers(slots_);
  }
  void run() const;

 private:
  static constexpr int64_t kStep = kLaneStep<Value>;
  void summarize(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;
  void mix_step(int64_t slot, int64_t step) const;
  void read_out(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const;

  int64_t summary_bytes() const { return call_.M * call_.D * call_.width * static_cast<int64_t>(sizeof(float)); }
  // Beyond a power of two, so that the same place of many blocks does not fall into one set of a cache.
  int64_t mixed_block() const { return call_.D * call_.width + 2 * kLaneStrip; }
  int64_t mixed_bytes() const { return call_.M * mixed_block() * static_cast<int64_t>(sizeof(Value)); }
  float* summaries(int64_t slot) const { return reinterpret_cast<float*>(scratch_.data + slot * summary_bytes()); }
  Value* mixed(int64_t slot, int64_t block) const {
    return reinterpret_cast<Value*>(scratch_.data + slots_ * summary_bytes() + slot * mixed_bytes()) +
           block * mixed_block();
  }

  BlockCall<Value>& call_;
  int64_t slots_;
  // [slot][strip][D][M][column], then, mixed, [slot][M][strip][step of D][column][kLaneStep]. One piece of memory:
  // glibc keeps at most 64 MB for the next call, and new pages cost as much as a third of the products.
  Buffer<uint8_t> scratch_;
};

/// S = sum k^T v and z = sum k of one block of a head.
template <typename Value>
void BlockSummaries<Value>::summarize(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  static const std::vector<float> ones(kMostHeadDim, 1.0f);
  const int64_t count = call_.count(block), width = call_.width;
  std::fill_n(work.key_sums.data, width, 0.0f);
  for (int64_t first = 0; first == 0 || first < count; first += kKeyChunk) {
    const int64_t chunk = std::min(kKeyChunk, count - first), steps = lane_steps<Value>(chunk);
    call_.load_keys_and_values(head, call_.members(block) + first, chunk, steps, work);
    for (int64_t column = 0; column < width; column += kLaneStrip) {
      const int64_t columns = strip_width(column, width);
      multiply_lanes<Value>({.a = work.keys.data,
                             .a_row = kStep,
                             .a_step = kStep * width,
                             .b = work.values.data + strip_offset<Value>(column, steps),
                             .b_step = kStep * columns,
                             .steps = steps,
                             .c = summaries(slot) + strip_place(column, width, call_.D * call_.M, block),
                             .c_row = call_.M * columns,
                             .kept = first == 0 ? nullptr : ones.data()},
                            call_.D, columns);
    }
  }
  call_.keep_key_sums(head, slot, block, work);
}

/// The rows of all mixed summaries of a head that make one step of the read-out.
template <typename Value>
void BlockSummaries<Value>::mix_step(int64_t slot, int64_t step) const {
  constexpr MixStore kStores[2] = {kStep == 1 ? MixStore::kFloat : MixStore::kFirst, MixStore::kSecond};
  const int64_t D = call_.D, M = call_.M, width = call_.width;
  for (int64_t column = 0; column < width; column += kLaneStrip) {
    const int64_t columns = strip_width(column, width);
    Value* to = mixed(slot, 0) + strip_offset<Value>(column, D / kStep) + step * columns * kStep;
    for (int64_t row = 0; row < kStep; ++row)
      mix_rows(values_of<float>(call_.mixing), M,
               summaries(slot) + strip_place(column, width, D * M, (step * kStep + row) * M), columns, kStores[row], to,
               mixed_block() * static_cast<int64_t>(sizeof(Value)) / 4);
  }
}

/// The results of one block of a head.
template <typename Value>
void BlockSummaries<Value>::read_out(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  const int64_t width = call_.width, steps = call_.D / kStep;
  for (int64_t first = 0; first < call_.count(block); first += kQueryChunk) {
    const int64_t chunk = std::min(kQueryChunk, call_.count(block) - first);
    call_.load_queries(head, slot, block, first, chunk, work.queries.data);
    for (int64_t column = 0; column < width; column += kLaneStrip) {
      const int64_t columns = strip_width(column, width);
      multiply_lanes<Value>({.a = work.queries.data,
                             .a_row = width,
                             .a_step = kStep,
                             .b = mixed(slot, block) + strip_offset<Value>(column, steps),
                             .b_step = kStep * columns,
                             .steps = steps,
                             .c = work.results.data + column,
                             .c_row = width},
                            chunk, columns);
    }
    call_.finish(head, block, first, chunk, work.results.data);
  }
}

template <typename Value>
void BlockSummaries<Value>::run() const {
  const int64_t steps = call_.D / kStep, mixings = steps + (call_.is(BlockNormalizer::kNone) ? 0 : 1);
  for (int64_t first = 0; first < call_.heads(); first += slots_) {
    const int64_t slots = std::min(slots_, call_.heads() - first);
    // Slots innermost: heads of the same tokens share their rotations and what lies beside them in memory.
    parallel_for(0, call_.M * slots, 1, [&](int64_t begin, int64_t end) {
      BlockWork<Value> work(call_.width);
      for (int64_t i = begin; i < end; ++i) summarize(first + i % slots, i % slots, i / slots, work);
    });
    parallel_for(0, slots * mixings, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t slot = i / mixings, step = i % mixings;
        if (step < steps)
          mix_step(slot, step);
        else
          call_.mix_normalizer(first + slot, slot);
      }
    });
    parallel_for(0, call_.M * slots, 1, [&](int64_t begin, int64_t end) {
      BlockWork<Value> work(call_.width);
      for (int64_t i = begin; i < end; ++i) read_out(first + i % slots, i % slots, i / slots, work);
    });
  }
}

}  // namespace

template <typename Value>
void attend_by_summaries(BlockCall<Value>& call) {
  BlockSummaries<Value>(call).run();
}
template void attend_by_summaries(BlockCall<float>&);
template void attend_by_summaries(BlockCall<Bfloat16Bits>&);

#endif

}  // namespace tessera
