#include "models/direct_inception.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "models/direct_conv.h"
#include "models/winograd_conv.h"

namespace tessera {
namespace {

using Kind = InceptionStep::Kind;

constexpr size_t kInputChannels = 4;  // three colours and a zero: bfloat16 multiplies pairs

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
  WinogradConv winograd;  // instead of `conv` where it has weights
  DirectPool pool;
  bool to_float = false;
};

DirectType direct_type(at::ScalarType dtype) {
  return dtype == at::kFloat ? DirectType::kFloat : DirectType::kBfloat16;
}

void slide(const Storage& in, const Storage& out, int64_t stride, int64_t pad_rows, int64_t pad_columns,
           int64_t to_channel, std::vector<int32_t>& from, std::vector<int32_t>& to) {
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      from.push_back(in.at(y * stride - pad_rows, x * stride - pad_columns));
      to.push_back(out.at(y, x) + static_cast<int32_t>(to_channel));
    }
}

}  // namespace

bool has_direct_inception(at::ScalarType dtype) {
  return (dtype == at::kFloat || dtype == at::kBFloat16) && has_direct_conv(direct_type(dtype));
}

struct DirectInception::State {
  DirectType type;
  std::vector<at::Tensor> packed, bias;  // [convolution], keep alive what the plan points to
  std::vector<bool> is_winograd;         // [convolution]
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
    const bool odd = step.kind == Kind::kConv && is_winograd[step.conv] && in.height % 2 == 1;
    in.border_rows = std::max(in.border_rows, rows + (odd && conv.rows > 1));
    in.border_columns = std::max(in.border_columns, columns + (odd && conv.columns > 1));
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
  for (const InceptionWeights& layer : weights) {
    bias.push_back(layer.bias.contiguous());
    is_winograd.push_back(layer.winograd.defined());
    if (layer.winograd.defined()) {
      packed.push_back(pack_winograd(layer.winograd, layer.weight.size(2), layer.weight.size(3)));
      continue;
    }
    at::Tensor rows = layer.weight.permute({0, 2, 3, 1}).contiguous();  // [out, rows, columns, in]
    if (rows.size(3) == 3) rows = at::constant_pad_nd(rows, {0, 1});
    const int64_t run = rows.size(2) * rows.size(3);
    packed.push_back(at::empty({packed_weight_count(rows.size(1), run, rows.size(0)) * bytes_of(type)}, at::kByte));
    pack_direct_weights(type, rows.const_data_ptr<float>(), rows.size(1), run, rows.size(0), packed.back().data_ptr());
  }
}

void DirectInception::State::plan() {
  const InceptionGraph& graph = inception_graph();
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    const InceptionStep& step = graph.steps[i];
    Work& work = works[i];
    work.kind = step.kind;
    work.from = slot_of[step.from];
    work.to = slot_of[step.to];
    const Storage &in = slots[work.from], &out = slots[work.to];
    work.to_float = out.is_float;
    if (step.kind == Kind::kMaxPool) {
      work.pool.row_pitch = in.pitch();
      work.pool.channels = in.channels;
      slide(in, out, step.stride, step.pad, step.pad, step.to_channel, work.pool.from, work.pool.to);
      continue;
    }
    const InceptionConv& conv = graph.convs[step.conv];
    const bool average = step.kind == Kind::kAverageConv;
    if (is_winograd[step.conv]) {
      work.winograd = {.rows = conv.rows,
                       .columns = conv.columns,
                       .height = out.height,
                       .width = out.width,
                       .in = in.channels,
                       .out = conv.out,
                       .from = in.at(-conv.pad_rows, -conv.pad_columns),
                       .from_pitch = in.pitch(),
                       .to = out.at(0, 0) + step.to_channel,
                       .to_pitch = out.pitch(),
                       .to_pixel = out.channels,
                       .to_float = out.is_float,
                       .weights = packed[step.conv].const_data_ptr(),
                       .bias = bias[step.conv].const_data_ptr<float>()};
      scratch_bytes = std::max(scratch_bytes, winograd_scratch_bytes(work.winograd));
      continue;
    }
    const Storage& target = average ? slots[work.between] : out;
    slide(in, target, conv.stride, conv.pad_rows, conv.pad_columns, average ? 0 : step.to_channel, work.conv.from,
          work.conv.to);
    work.conv.rows = conv.rows;
    work.conv.row_pitch = in.pitch();
    work.conv.run = conv.columns * in.channels;
    work.conv.channels = conv.out;
    work.conv.weights = packed[step.conv].const_data_ptr();
    work.conv.bias = bias[step.conv].const_data_ptr<float>();
    work.conv.store = average ? DirectStore::kRawFloat : out.is_float ? DirectStore::kReluFloat : DirectStore::kRelu;
    if (!average) continue;
    work.pool.row_pitch = target.pitch();
    work.pool.channels = conv.out;
    work.pool.bias = work.conv.bias;
    slide(target, out, 1, 1, 1, step.to_channel, work.pool.from, work.pool.to);
    const auto inside = [](int64_t at, int64_t size) { return 3 - (at == 0) - (at == size - 1); };
    for (int64_t y = 0; y < out.height; ++y)
      for (int64_t x = 0; x < out.width; ++x)
        work.pool.scale.push_back(1.0f / static_cast<float>(inside(y, out.height) * inside(x, out.width)));
  }
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
  if (work.winograd.weights) return winograd_conv(work.winograd, from, to, memory.back().data_ptr());
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
  std::mutex guard;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      auto memory = state_->borrow();
      for (int64_t i = next++; i < count; i = next++)
        state_->run(*memory, pictures.const_data_ptr<float>() + i * values, scale, shift, tap,
                    out.data_ptr<float>() + i * tap.dims);
      const std::lock_guard lock(state_->guard);
      state_->idle.push_back(std::move(memory));
    } catch (...) {
      const std::lock_guard lock(guard);
      failure = std::current_exception();
    }
  };
  // Threads of its own: OpenMP's spin while they wait, which takes time from those that decode the next pictures.
  std::vector<std::thread> helpers;
  for (int64_t i = 1; i < std::min<int64_t>(at::get_num_threads(), count); ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
  return out;
}

}  // namespace tessera
