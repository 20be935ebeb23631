#include "models/inception/direct.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>
#include <mutex>

#include "core/parallel_for.h"
#include "core/threads.h"
#include "kernels/direct_conv.h"
#include "kernels/winograd_conv.h"

namespace tessera {
namespace {

using Kind = InceptionStep::Kind;

constexpr size_t kInputChannels = 4;  // three colors and a zero: bfloat16 multiplies pairs

struct Storage {
  int64_t channels, height, width;  // of the picture inside the border
  int64_t border_rows, border_columns;
  bool is_float;  // float32 whatever the network's type

  int64_t pitch() const { return (width + 2 * border_columns) * channels; }
  int64_t size() const { return (height + 2 * border_rows) * pitch(); }
  /// Offset of pixel (y, x), where -border <= y < height + border.
  int32_t at(int64_t y, int64_t x) const {
    return static_cast<int32_t>((y + border_rows) * pitch() + (x + border_columns) * channels);
  }
  bool operator==(const Storage&) const = default;
};

struct Work {
  Kind kind;
  size_t from, to;     // slots
  size_t between = 0;  // slot of the float32 sums between 1x1 convolution and average pool
  DirectConv conv;
  WinogradConv winograd;  // where it has weights: instead of `conv`, which then does what is beside whole tiles
  DirectPool pool;
  bool to_float = false;
};

DirectType direct_type(at::ScalarType dtype) {
  return dtype == at::kFloat ? DirectType::kFloat : DirectType::kBfloat16;
}

/// The outputs of a step from `first_row` and `first_column` on.
struct Slide {
  int64_t stride, pad_rows, pad_columns, to_channel, first_row = 0, first_column = 0;
};

void slide(const Storage& in, const Storage& out, const Slide& step, std::vector<int32_t>& from,
           std::vector<int32_t>& to) {
  for (int64_t y = step.first_row; y < out.height; ++y)
    for (int64_t x = step.first_column; x < out.width; ++x) {
      from.push_back(in.at(y * step.stride - step.pad_rows, x * step.stride - step.pad_columns));
      to.push_back(out.at(y, x) + static_cast<int32_t>(step.to_channel));
    }
}

/// Height and width of the outputs that winograd_conv computes. A kernel along one axis leaves what does not fill a
/// tile to direct_conv; others go over the edge.
std::pair<int64_t, int64_t> winograd_size(const InceptionStep& step) {
  const InceptionConv& conv = inception_graph().convs[step.conv];
  const InceptionBuffer& out = inception_graph().buffers[step.to];
  if (conv.rows > 1 && conv.columns > 1) return {out.height, out.width};
  const WinogradTile tile = winograd_tile(conv.rows, conv.columns);
  return {out.height / tile.rows * tile.rows, out.width / tile.columns * tile.columns};
}

bool leaves_outputs(const InceptionStep& step) {
  const InceptionBuffer& out = inception_graph().buffers[step.to];
  return winograd_size(step) != std::pair(out.height, out.width);
}

at::Tensor pack_direct(DirectType type, const at::Tensor& weight) {
  at::Tensor rows = weight.permute({0, 2, 3, 1}).contiguous();  // [out, rows, columns, in]
  if (rows.size(3) == 3) rows = at::constant_pad_nd(rows, {0, 1});
  const int64_t run = rows.size(2) * rows.size(3);
  at::Tensor packed = at::empty({packed_weight_count(rows.size(1), run, rows.size(0)) * bytes_of(type)}, at::kByte);
  pack_direct_weights(type, rows.const_data_ptr<float>(), rows.size(1), run, rows.size(0), packed.data_ptr());
  return packed;
}

}  // namespace

bool has_direct_inception(at::ScalarType dtype) {
  return (dtype == at::kFloat || dtype == at::kBFloat16) && has_direct_conv(direct_type(dtype));
}

struct DirectInception::State {
  DirectType type;
  // [convolution], keep alive what the plan points to; a tensor is undefined where its kernel has nothing to do.
  std::vector<at::Tensor> direct, winograd, bias;
  int64_t scratch_bytes = 0;
  std::vector<Storage> slots;   // memory that buffers of one shape take turns in
  std::vector<size_t> slot_of;  // [buffer]
  std::vector<Work> works;      // one a step
  // Memory of one picture on its way: a tensor of bytes for each slot, borders zero, and the scratch.
  using Workspace = std::vector<at::Tensor>;
  std::mutex guard;
  std::vector<std::unique_ptr<Workspace>> idle;

  void choose_slots();
  size_t take_slot(const Storage& wanted, std::vector<bool>& busy);
  void pack(const std::vector<InceptionWeights>& weights);
  void plan();
  void plan_pool(const InceptionStep& step, Work& work);
  void plan_winograd(const InceptionStep& step, Work& work);
  void plan_direct(const InceptionStep& step, Work& work);
  std::unique_ptr<Workspace> borrow();
  void run(Workspace& memory, const float* picture, double scale, double shift, const InceptionTap& tap, float* out);
  void do_step(Workspace& memory, const Work& work);
};

size_t DirectInception::State::take_slot(const Storage& wanted, std::vector<bool>& busy) {
  for (size_t i = 0; i < slots.size(); ++i)
    if (!busy[i] && slots[i] == wanted) {
      busy[i] = true;
      return i;
    }
  slots.push_back(wanted);
  busy.push_back(true);
  return slots.size() - 1;
}

void DirectInception::State::choose_slots() {
  const InceptionGraph& graph = inception_graph();
  std::vector<Storage> wanted;
  for (const InceptionBuffer& buffer : graph.buffers)
    wanted.push_back({buffer.channels, buffer.height, buffer.width, 0, 0, false});
  wanted[0].channels = kInputChannels;
  wanted[graph.taps.back().buffer].is_float = true;  // read by the mean alone
  std::vector<size_t> last_use(graph.buffers.size(), graph.steps.size());
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    const InceptionStep& step = graph.steps[i];
    const InceptionConv& conv = graph.convs[step.conv];
    last_use[step.from] = i;
    Storage& in = wanted[step.from];
    const int64_t rows = step.kind == Kind::kConv ? conv.pad_rows : step.pad;
    const int64_t columns = step.kind == Kind::kConv ? conv.pad_columns : step.pad;
    WinogradTile over{0, 0};  // what tiles reach over the edge
    if (step.kind == Kind::kConv && winograd[step.conv].defined()) {
      const auto [height, width] = winograd_size(step);
      const WinogradTile tile = winograd_tile(conv.rows, conv.columns);
      over = {(tile.rows - height % tile.rows) % tile.rows, (tile.columns - width % tile.columns) % tile.columns};
    }
    in.border_rows = std::max(in.border_rows, rows + over.rows);
    in.border_columns = std::max(in.border_columns, columns + over.columns);
  }
  std::vector<bool> busy;
  slot_of.assign(graph.buffers.size(), graph.buffers.size());
  slot_of[0] = take_slot(wanted[0], busy);
  works.resize(graph.steps.size());
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    const InceptionStep& step = graph.steps[i];
    if (slot_of[step.to] == graph.buffers.size()) slot_of[step.to] = take_slot(wanted[step.to], busy);
    if (step.kind == Kind::kAverageConv) {
      const InceptionBuffer& to = graph.buffers[step.to];
      works[i].between = take_slot({graph.convs[step.conv].out, to.height, to.width, 1, 1, true}, busy);
      busy[works[i].between] = false;
    }
    bool is_tap = false;
    for (const InceptionTap& tap : graph.taps) is_tap |= tap.buffer == step.from;
    if (last_use[step.from] == i && !is_tap) busy[slot_of[step.from]] = false;
  }
}

void DirectInception::State::pack(const std::vector<InceptionWeights>& weights) {
  direct.resize(weights.size());
  winograd.resize(weights.size());
  for (const InceptionWeights& layer : weights) bias.push_back(layer.bias.contiguous());
  const std::vector<InceptionStep>& steps = inception_graph().steps;
  const auto pack_step = [&](const InceptionStep& step) {
    if (step.kind == Kind::kMaxPool) return;
    const InceptionWeights& layer = weights[step.conv];
    if (!layer.winograd.defined()) {
      direct[step.conv] = pack_direct(type, layer.weight);
      return;
    }
    winograd[step.conv] = pack_winograd(layer.winograd, layer.weight.size(2), layer.weight.size(3));
    if (leaves_outputs(step)) direct[step.conv] = pack_direct(type, round_with_feedback(layer.weight));
  };
  parallel_for(0, static_cast<int64_t>(steps.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pack_step(steps[static_cast<size_t>(i)]);
  });
}

void DirectInception::State::plan() {
  for (size_t i = 0; i < works.size(); ++i) {
    const InceptionStep& step = inception_graph().steps[i];
    Work& work = works[i];
    work.kind = step.kind;
    work.from = slot_of[step.from];
    work.to = slot_of[step.to];
    work.to_float = slots[work.to].is_float;
    if (step.kind == Kind::kMaxPool)
      plan_pool(step, work);
    else if (winograd[step.conv].defined())
      plan_winograd(step, work);
    else
      plan_direct(step, work);
  }
}

/// The pool of a step: of what is there, or behind a convolution.
void DirectInception::State::plan_pool(const InceptionStep& step, Work& work) {
  const bool is_max = step.kind == Kind::kMaxPool;
  const Storage &in = slots[is_max ? work.from : work.between], &out = slots[work.to];
  work.pool.row_pitch = in.pitch();
  work.pool.channels = in.channels;
  if (is_max) return slide(in, out, {step.stride, step.pad, step.pad, step.to_channel}, work.pool.from, work.pool.to);
  slide(in, out, {1, 1, 1, step.to_channel}, work.pool.from, work.pool.to);
  work.pool.bias = work.conv.bias;
  const auto inside = [](int64_t at, int64_t size) { return 3 - (at == 0) - (at == size - 1); };
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x)
      work.pool.scale.push_back(1.0f / static_cast<float>(inside(y, out.height) * inside(x, out.width)));
}

void DirectInception::State::plan_winograd(const InceptionStep& step, Work& work) {
  const InceptionConv& conv = inception_graph().convs[step.conv];
  const Storage &in = slots[work.from], &out = slots[work.to];
  const auto [height, width] = winograd_size(step);
  work.winograd = {.rows = conv.rows,
                   .columns = conv.columns,
                   .height = height,
                   .width = width,
                   .in = in.channels,
                   .out = conv.out,
                   .from = in.at(-conv.pad_rows, -conv.pad_columns),
                   .from_pitch = in.pitch(),
                   .to = out.at(0, 0) + step.to_channel,
                   .to_pitch = out.pitch(),
                   .to_pixel = out.channels,
                   .to_float = out.is_float,
                   .weights = winograd[step.conv].const_data_ptr(),
                   .bias = bias[step.conv].const_data_ptr<float>()};
  scratch_bytes = std::max(scratch_bytes, winograd_scratch_bytes(work.winograd));
  if (leaves_outputs(step)) plan_direct(step, work);
}

void DirectInception::State::plan_direct(const InceptionStep& step, Work& work) {
  const InceptionConv& conv = inception_graph().convs[step.conv];
  const bool average = step.kind == Kind::kAverageConv;
  const Storage &in = slots[work.from], &out = slots[average ? work.between : work.to];
  Slide region{conv.stride, conv.pad_rows, conv.pad_columns, average ? 0 : step.to_channel};
  if (work.winograd.weights && work.winograd.height < out.height) region.first_row = work.winograd.height;
  if (work.winograd.weights && work.winograd.width < out.width) region.first_column = work.winograd.width;
  slide(in, out, region, work.conv.from, work.conv.to);
  work.conv.rows = conv.rows;
  work.conv.row_pitch = in.pitch();
  work.conv.run = conv.columns * in.channels;
  work.conv.channels = conv.out;
  work.conv.weights = direct[step.conv].const_data_ptr();
  work.conv.bias = bias[step.conv].const_data_ptr<float>();
  work.conv.store = average ? DirectStore::kRawFloat : out.is_float ? DirectStore::kReluFloat : DirectStore::kRelu;
  if (average) plan_pool(step, work);
}

std::unique_ptr<DirectInception::State::Workspace> DirectInception::State::borrow() {
  {
    const std::lock_guard lock(guard);
    if (!idle.empty()) {
      auto memory = std::move(idle.back());
      idle.pop_back();
      return memory;
    }
  }
  auto memory = std::make_unique<Workspace>();
  for (const Storage& slot : slots)
    memory->push_back(at::zeros({slot.size() * (slot.is_float ? 4 : bytes_of(type))}, at::kByte));
  memory->push_back(at::empty({scratch_bytes}, at::kByte));
  return memory;
}

void DirectInception::State::do_step(Workspace& memory, const Work& work) {
  const void* from = memory[work.from].const_data_ptr();
  void* to = memory[work.to].data_ptr();
  if (work.kind == Kind::kMaxPool) return direct_max_pool(type, work.pool, from, to);
  if (work.winograd.weights) winograd_conv(work.winograd, from, to, memory.back().data_ptr());
  if (work.kind == Kind::kConv) return direct_conv(type, work.conv, from, to);
  void* between = memory[work.between].data_ptr();
  direct_conv(type, work.conv, from, between);
  direct_average_pool(type, work.pool, static_cast<const float*>(between), to, work.to_float);
}

void DirectInception::State::run(Workspace& memory, const float* picture, double scale, double shift,
                                 const InceptionTap& tap, float* out) {
  direct_input(type, picture, kInceptionSide, kInceptionSide, static_cast<float>(scale), static_cast<float>(shift),
               memory[slot_of[0]].data_ptr());
  for (size_t i = 0; i < tap.steps; ++i) do_step(memory, works[i]);
  const Storage& last = slots[slot_of[tap.buffer]];
  std::vector<int32_t> places;
  for (int64_t y = 0; y < last.height; ++y)
    for (int64_t x = 0; x < last.width; ++x) places.push_back(last.at(y, x));
  std::fill(out, out + tap.dims, 0.0f);
  direct_sum(last.is_float ? DirectType::kFloat : type, places.data(), static_cast<int64_t>(places.size()), tap.dims,
             memory[slot_of[tap.buffer]].const_data_ptr(), out);
  for (int64_t i = 0; i < tap.dims; ++i) out[i] /= static_cast<float>(places.size());
}

DirectInception::DirectInception(const std::vector<InceptionWeights>& weights, at::ScalarType dtype)
    : state_(std::make_unique<State>()) {
  TORCH_CHECK(has_direct_inception(dtype) && weights.size() == inception_graph().convs.size(), "DirectInception");
  state_->type = direct_type(dtype);
  state_->pack(weights);
  state_->choose_slots();
  state_->plan();
}

DirectInception::~DirectInception() = default;

at::Tensor DirectInception::features(const at::Tensor& pixels, double scale, double shift,
                                     const InceptionTap& tap) const {
  const at::Tensor pictures = pixels.to(at::kFloat).contiguous();
  const int64_t count = pictures.size(0), values = 3 * kInceptionSide * kInceptionSide;
  at::Tensor out = at::empty({count, tap.dims}, at::kFloat);
  std::atomic<int64_t> next{0};
  // Threads of its own: OpenMP's spin while they wait, which takes time from those that decode the next pictures.
  run_on_threads(std::min<int64_t>(at::get_num_threads(), count), [&] {
    auto memory = state_->borrow();
    for (int64_t i = next++; i < count; i = next++)
      state_->run(*memory, pictures.const_data_ptr<float>() + i * values, scale, shift, tap,
                  out.data_ptr<float>() + i * tap.dims);
    const std::lock_guard lock(state_->guard);
    state_->idle.push_back(std::move(memory));
  });
  return out;
}

}  // namespace tessera
