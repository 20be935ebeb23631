// block_attention where tokens are few: a head's summaries would be larger than what they are made of.
#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/block_call.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

constexpr int64_t kPanelRows = 12;  // rows of all summaries that are made together

/// What a thread keeps of the head that it works on: all of it, and a panel of rows of all summaries.
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

template <typename Value>
class BlockPanels {
 public:
  explicit BlockPanels(BlockCall<Value>& call) : call_(call), results_(call.heads() * call.N * call.width) {
    call_.keep_normalizers(call_.heads());
    for (int64_t block = 0; block < call_.M; ++block)
      steps_.push_back(steps_.back() + lane_steps<Value>(call_.count(block)));
  }
  void run() const;

 private:
  static constexpr int64_t kStep = kLaneStep<Value>;
  void sum_keys(int64_t head, int64_t block, BlockWork<Value>& work) const;
  void load_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const;
  void attend_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const;
  int64_t step_of(int64_t block) const { return steps_[static_cast<size_t>(block)]; }
  float* results(int64_t head, int64_t block) const {
    return results_.data + (head * call_.N + call_.start(block)) * call_.width;
  }

  BlockCall<Value>& call_;
  std::vector<int64_t> steps_{0};  // [M + 1]: where a block's steps of keys begin
  Buffer<float> results_;          // [head][token by block][width]
};

/// z of one block of a head alone.
template <typename Value>
void BlockPanels<Value>::sum_keys(int64_t head, int64_t block, BlockWork<Value>& work) const {
  std::fill_n(work.key_sums.data, call_.width, 0.0f);
  const int32_t* tokens = call_.members(block);
  for (int64_t i = 0; i < call_.count(block); i += kStep)
    key_step(call_.k, head / call_.H, head % call_.H, tokens[i], i + 1 < call_.count(block) ? tokens[i + 1] : -1,
             work.keys.data, work.key_sums.data);
  call_.keep_key_sums(head, head, block, work);
}

/// All keys and queries of a head and a strip of its values, by block, as operands.
template <typename Value>
void BlockPanels<Value>::load_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const {
  const int64_t sample = head / call_.H, h = head % call_.H, D = call_.D, width = call_.width;
  const int64_t columns = strip_width(column, width);
  std::fill_n(panel.key_sums.data, width, 0.0f);  // only written
  for (int64_t block = 0; block < call_.M; ++block) {
    const int32_t* tokens = call_.members(block);
    const int64_t count = call_.count(block);
    const auto value = [&](int64_t i) {
      return call_.v.data + sample * call_.v.sample + tokens[i] * call_.v.token + h * D + column;
    };
    for (int64_t i = 0, step = step_of(block); i < count; i += kStep, ++step) {
      for (int64_t ahead = i + kPrefetched; ahead < std::min(i + kPrefetched + kStep, count); ++ahead) {
        prefetch_row(call_.k, sample, h, tokens[ahead]);
        prefetch(value(ahead), columns * 2);
      }
      const bool two = i + 1 < count;
      key_step(call_.k, sample, h, tokens[i], two ? tokens[i + 1] : -1, panel.keys.data + step * kStep * width,
               panel.key_sums.data);
      pack_lanes(value(i), two ? value(i + 1) : nullptr, D - column, columns, step, steps_.back(), panel.values.data);
    }
    for (int64_t first = 0; first < count; first += kQueryChunk) {
      const int64_t chunk = std::min(kQueryChunk, count - first);
      Value* to = panel.queries.data + (call_.start(block) + first) * width;
      if (column == 0)
        call_.load_queries(head, head, block, first, chunk, to);
      else
        query_features(call_.q, sample, h, tokens + first, chunk, to, nullptr, nullptr);
    }
  }
}

/// A strip of columns of a head's results. A few rows of all summaries are made, mixed and multiplied with the queries
/// at a time.
template <typename Value>
void BlockPanels<Value>::attend_head(int64_t head, int64_t column, BlockPanel<Value>& panel) const {
  static const std::vector<float> ones(kFewValues / 16, 1.0f);
  constexpr MixStore kStores[2] = {kStep == 1 ? MixStore::kFloat : MixStore::kFirst, MixStore::kSecond};
  const int64_t M = call_.M, width = call_.width, columns = strip_width(column, width);
  load_head(head, column, panel);
  for (int64_t row = 0; row < call_.D; row += kPanelRows) {
    const int64_t rows = std::min(kPanelRows, call_.D - row);
    for (int64_t block = 0; block < M; ++block)
      multiply_lanes<Value>({.a = panel.keys.data + (step_of(block) * width + row) * kStep,
                             .a_row = kStep,
                             .a_step = kStep * width,
                             .b = panel.values.data + step_of(block) * columns * kStep,
                             .b_step = kStep * columns,
                             .steps = lane_steps<Value>(call_.count(block)),
                             .c = panel.summaries.data + block * columns,
                             .c_row = M * columns},
                            rows, columns);
    for (int64_t r = 0; r < rows; ++r)
      mix_rows(values_of<float>(call_.mixing), M, panel.summaries.data + r * M * columns, columns, kStores[r % kStep],
               panel.mixed.data + r / kStep * columns * kStep, kPanelRows * columns / kStep);
    for (int64_t block = 0; block < M; ++block)
      multiply_lanes<Value>({.a = panel.queries.data + call_.start(block) * width + row,
                             .a_row = width,
                             .a_step = kStep,
                             .b = panel.mixed.data + block * kPanelRows * columns,
                             .b_step = kStep * columns,
                             .steps = rows / kStep,
                             .c = results(head, block) + column,
                             .c_row = width,
                             .kept = row == 0 ? nullptr : ones.data()},
                            call_.count(block), columns);
  }
}

template <typename Value>
void BlockPanels<Value>::run() const {
  const int64_t heads = call_.heads(), M = call_.M, strips = (call_.width + kLaneStrip - 1) / kLaneStrip;
  if (!call_.is(BlockNormalizer::kNone))
    parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
      BlockWork<Value> work(call_.width);
      for (int64_t head = begin; head < end; ++head) {
        for (int64_t block = 0; block < M; ++block) sum_keys(head, block, work);
        call_.mix_normalizer(head, head);
      }
    });
  parallel_for(0, heads * strips, 1, [&](int64_t begin, int64_t end) {
    BlockPanel<Value> panel(steps_.back(), call_.N, M, call_.width);
    for (int64_t i = begin; i < end; ++i) attend_head(i / strips, i % strips * kLaneStrip, panel);
  });
  parallel_for(0, heads * M, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) call_.finish(i / M, i % M, 0, call_.count(i % M), results(i / M, i % M));
  });
}

}  // namespace

template <typename Value>
void attend_in_panels(BlockCall<Value>& call) {
  BlockPanels<Value>(call).run();
}
template void attend_in_panels(BlockCall<float>&);
template void attend_in_panels(BlockCall<Bfloat16Bits>&);

#endif

}  // namespace tessera
