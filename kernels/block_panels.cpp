// block_attention where tokens are few: a head's summaries would be larger than what they are made of.
#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/block_operator.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

constexpr int64_t kPanelRows = 12;  // rows of all summaries that are made together when tokens are few

}  // namespace

/// What a thread keeps of the head that it works on when tokens are few: all of them, and a panel of rows of all
/// summaries.
template <typename Value>
struct BlockPanel {
  Buffer<Value> keys, values, queries, mixed;
  Buffer<float> key_sums, summaries;

  BlockPanel(int64_t steps, int64_t tokens, int64_t blocks, int64_t width)
      : keys(steps * kLaneStep<Value> * width),
        values(steps * kLaneStep<Value> * kLaneStrip),
        queries(tokens * width),
        mixed(blocks * kPanelRows * kLaneStrip),
        key_sums(width),
        summaries(blocks * kPanelRows * kLaneStrip) {}
};

/// z of one block of a head alone.
template <typename Value>
void BlockOperator<Value>::sum_keys(int64_t head, int64_t block, BlockWork<Value>& work) const {
  std::fill_n(work.key_sums.data, width_, 0.0f);
  for (int64_t i = 0; i < count(block); i += kStep)
    key_step(k_, head / H_, head % H_, members(block)[i], i + 1 < count(block) ? members(block)[i + 1] : -1,
             work.keys.data, work.key_sums.data);
  keep_key_sums(head, head, block, work);
}

/// All keys and queries of a head and a strip of its values, by block, as operands.
template <typename Value>
void BlockOperator<Value>::load_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const {
  const int64_t sample = head / H_, h = head % H_, columns = strip_width(column, width_);
  std::fill_n(panel.key_sums.data, width_, 0.0f);  // only written
  for (int64_t block = 0; block < M_; ++block) {
    const int32_t* tokens = members(block);
    const auto value = [&](int64_t i) { return v_.data + sample * v_.sample + tokens[i] * v_.token + h * D_ + column; };
    for (int64_t i = 0, step = steps_[static_cast<size_t>(block)]; i < count(block); i += kStep, ++step) {
      for (int64_t ahead = i + kPrefetched; ahead < std::min(i + kPrefetched + kStep, count(block)); ++ahead) {
        prefetch_row(k_, sample, h, tokens[ahead]);
        prefetch(value(ahead), columns * 2);
      }
      const bool two = i + 1 < count(block);
      key_step(k_, sample, h, tokens[i], two ? tokens[i + 1] : -1, panel.keys.data + step * kStep * width_,
               panel.key_sums.data);
      pack_lanes(value(i), two ? value(i + 1) : nullptr, D_ - column, columns, step, steps_.back(), panel.values.data);
    }
    for (int64_t first = 0; first < count(block); first += kQueryChunk) {
      const int64_t chunk = std::min(kQueryChunk, count(block) - first);
      Value* to = panel.queries.data + (starts_[static_cast<size_t>(block)] + first) * width_;
      if (column == 0)
        load_queries(head, head, block, first, chunk, to);
      else
        query_features(q_, sample, h, tokens + first, chunk, to, nullptr, nullptr);
    }
  }
}

/// A strip of columns of a head's results. A few rows of all summaries are made, mixed and multiplied with the queries
/// at a time: whole ones would be larger than what they are made of and leave the cache.
template <typename Value>
void BlockOperator<Value>::attend_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const {
  static const std::vector<float> ones(kFewValues / 16, 1.0f);
  constexpr MixStore kStores[2] = {kStep == 1 ? MixStore::kFloat : MixStore::kFirst, MixStore::kSecond};
  const int64_t columns = strip_width(column, width_);
  load_head(head, column, panel);
  for (int64_t row = 0; row < D_; row += kPanelRows) {
    const int64_t rows = std::min(kPanelRows, D_ - row);
    for (int64_t block = 0; block < M_; ++block) {
      const int64_t step = steps_[static_cast<size_t>(block)];
      multiply_lanes<Value>({.a = panel.keys.data + (step * width_ + row) * kStep,
                             .a_row = kStep,
                             .a_step = kStep * width_,
                             .b = panel.values.data + step * columns * kStep,
                             .b_step = kStep * columns,
                             .steps = lane_steps<Value>(count(block)),
                             .c = panel.summaries.data + block * columns,
                             .c_row = M_ * columns},
                            rows, columns);
    }
    for (int64_t r = 0; r < rows; ++r)
      mix_rows(values_of<float>(mixing_), M_, panel.summaries.data + r * M_ * columns, columns, kStores[r % kStep],
               panel.mixed.data + r / kStep * columns * kStep, kPanelRows * columns / kStep);
    for (int64_t block = 0; block < M_; ++block) {
      const int64_t start = starts_[static_cast<size_t>(block)];
      multiply_lanes<Value>({.a = panel.queries.data + start * width_ + row,
                             .a_row = width_,
                             .a_step = kStep,
                             .b = panel.mixed.data + block * kPanelRows * columns,
                             .b_step = kStep * columns,
                             .steps = rows / kStep,
                             .c = results_.data + (head * N_ + start) * width_ + column,
                             .c_row = width_,
                             .kept = row == 0 ? nullptr : ones.data()},
                            count(block), columns);
    }
  }
}

template <typename Value>
void BlockOperator<Value>::run_few() {
  const int64_t heads = B_ * H_, strips = (width_ + kLaneStrip - 1) / kLaneStrip;
  if (!is(BlockNormalizer::kNone))
    parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
      BlockWork<Value> work(width_);
      for (int64_t head = begin; head < end; ++head) {
        for (int64_t block = 0; block < M_; ++block) sum_keys(head, block, work);
        mix_normalizer(head, head);
      }
    });
  parallel_for(0, heads * strips, 1, [&](int64_t begin, int64_t end) {
    BlockPanel<Value> panel(steps_.back(), N_, M_, width_);
    for (int64_t i = begin; i < end; ++i) attend_head(i / strips, i % strips * kLaneStrip, panel);
  });
  parallel_for(0, heads * M_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / M_, block = i % M_;
      finish(head, block, 0, count(block), results_.data + (head * N_ + starts_[static_cast<size_t>(block)]) * width_);
    }
  });
}

template void BlockOperator<float>::run_few();
template void BlockOperator<Bfloat16Bits>::run_few();

#endif

}  // namespace tessera
