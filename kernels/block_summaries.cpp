// block_attention where tokens are many: whole summaries of a few heads at a time.
#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/block_operator.h"

namespace tessera {

#if defined(__x86_64__)

/// Keys and values of up to kKeyChunk tokens, as operands; that of values has `steps` steps.
template <typename Value>
void BlockOperator<Value>::load_keys_and_values(int64_t sample, int64_t h, const int32_t* tokens, int64_t count,
                                                int64_t steps, BlockWork<Value>& work) const {
  const auto value = [&](int64_t i) { return v_.data + sample * v_.sample + tokens[i] * v_.token + h * D_; };
  for (int64_t i = 0; i < count; i += kStep) {
    // Rows of a block lie far apart, which the processor cannot foresee.
    for (int64_t ahead = i + kPrefetched; ahead < std::min(i + kPrefetched + kStep, count); ++ahead) {
      prefetch_row(k_, sample, h, tokens[ahead]);
      prefetch(value(ahead), D_ * 2);
    }
    const bool two = i + 1 < count;
    key_step(k_, sample, h, tokens[i], two ? tokens[i + 1] : -1, work.keys.data + i * width_, work.key_sums.data);
    pack_lanes(value(i), two ? value(i + 1) : nullptr, D_, width_, i / kStep, steps, work.values.data);
  }
}

/// S = sum k^T v and z = sum k of one block of a head.
template <typename Value>
void BlockOperator<Value>::summarize(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  static const std::vector<float> ones(kMostHeadDim, 1.0f);
  std::fill_n(work.key_sums.data, width_, 0.0f);
  for (int64_t first = 0; first == 0 || first < count(block); first += kKeyChunk) {
    const int64_t chunk = std::min(kKeyChunk, count(block) - first), steps = lane_steps<Value>(chunk);
    load_keys_and_values(head / H_, head % H_, members(block) + first, chunk, steps, work);
    for (int64_t column = 0; column < width_; column += kLaneStrip) {
      const int64_t columns = strip_width(column, width_);
      multiply_lanes<Value>({.a = work.keys.data,
                             .a_row = kStep,
                             .a_step = kStep * width_,
                             .b = work.values.data + strip_offset<Value>(column, steps),
                             .b_step = kStep * columns,
                             .steps = steps,
                             .c = summaries(slot) + strip_place(column, width_, D_ * M_, block),
                             .c_row = M_ * columns,
                             .kept = first == 0 ? nullptr : ones.data()},
                            D_, columns);
    }
  }
  keep_key_sums(head, slot, block, work);
}

/// The rows of all mixed summaries of a head that make one step of the read-out.
template <typename Value>
void BlockOperator<Value>::mix_step(int64_t slot, int64_t step) const {
  constexpr MixStore kStores[2] = {kStep == 1 ? MixStore::kFloat : MixStore::kFirst, MixStore::kSecond};
  for (int64_t column = 0; column < width_; column += kLaneStrip) {
    const int64_t columns = strip_width(column, width_);
    Value* to = mixed(slot, 0) + strip_offset<Value>(column, D_ / kStep) + step * columns * kStep;
    for (int64_t row = 0; row < kStep; ++row)
      mix_rows(values_of<float>(mixing_), M_,
               summaries(slot) + strip_place(column, width_, D_ * M_, (step * kStep + row) * M_), columns, kStores[row],
               to, mixed_block() * static_cast<int64_t>(sizeof(Value)) / 4);
  }
}

/// The results of one block of a head.
template <typename Value>
void BlockOperator<Value>::read_out(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  for (int64_t first = 0; first < count(block); first += kQueryChunk) {
    const int64_t chunk = std::min(kQueryChunk, count(block) - first);
    load_queries(head, slot, block, first, chunk, work.queries.data);
    for (int64_t column = 0; column < width_; column += kLaneStrip) {
      const int64_t columns = strip_width(column, width_);
      multiply_lanes<Value>({.a = work.queries.data,
                             .a_row = width_,
                             .a_step = kStep,
                             .b = mixed(slot, block) + strip_offset<Value>(column, D_ / kStep),
                             .b_step = kStep * columns,
                             .steps = D_ / kStep,
                             .c = work.results.data + column,
                             .c_row = width_},
                            chunk, columns);
    }
    finish(head, block, first, chunk, work.results.data);
  }
}

template <typename Value>
void BlockOperator<Value>::run_many() {
  const int64_t mixings = D_ / kStep + (is(BlockNormalizer::kNone) ? 0 : 1);
  for (int64_t first = 0; first < B_ * H_; first += slots_) {
    const int64_t slots = std::min(slots_, B_ * H_ - first);
    // Slots innermost: heads of the same tokens share their rotations and what lies beside them in memory.
    parallel_for(0, M_ * slots, 1, [&](int64_t begin, int64_t end) {
      BlockWork<Value> work(width_);
      for (int64_t i = begin; i < end; ++i) summarize(first + i % slots, i % slots, i / slots, work);
    });
    parallel_for(0, slots * mixings, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t slot = i / mixings, step = i % mixings;
        if (step < D_ / kStep)
          mix_step(slot, step);
        else
          mix_normalizer(first + slot, slot);
      }
    });
    parallel_for(0, M_ * slots, 1, [&](int64_t begin, int64_t end) {
      BlockWork<Value> work(width_);
      for (int64_t i = begin; i < end; ++i) read_out(first + i % slots, i % slots, i / slots, work);
    });
  }
}

template void BlockOperator<Bfloat16Bits>::load_keys_and_values(int64_t sample, int64_t h, const int32_t* tokens,
                                                                int64_t count, int64_t steps,
                                                                BlockWork<Bfloat16Bits>& work) const;
template void BlockOperator<float>::run_many();
template void BlockOperator<Bfloat16Bits>::run_many();

#endif

}  // namespace tessera
