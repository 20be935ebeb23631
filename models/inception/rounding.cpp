#include "models/inception/rounding.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include "core/parallel_for.h"
#include "kernels/winograd_conv.h"

namespace tessera {
namespace {

using Kind = InceptionStep::Kind;

// With one to eight the distance of two sets of 500 was off by 0.02 to 0.24 %, in no order.
constexpr int64_t kPictures = 2;

constexpr int64_t kChains = 8;  // rows at a time, because each waits for its last value

[[gnu::always_inline]] inline void round_rows(float* values, int64_t rows, int64_t each) {
  float carried[kChains] = {};
  for (int64_t k = 0; k < each; ++k)
    for (int64_t i = 0; i < rows; ++i) {
      float& value = values[i * each + k];
      const float wanted = value + carried[i];
      value = static_cast<float>(at::BFloat16(wanted));
      carried[i] = wanted - value;
    }
}

/// Sets rounded filters for winograd_conv, and plain ones with the same response to a constant picture.
void round_winograd(const at::Tensor& weight, InceptionWeights& to) {
  const int64_t rows = weight.size(2), columns = weight.size(3);
  const at::Tensor exact = winograd_filter_transform(weight);
  to.winograd = round_with_feedback(exact.flatten(0, 1)).view_as(exact);
  const at::Tensor error = winograd_response(to.winograd - exact, rows, columns);
  to.weight = weight + (error / (rows * columns)).unsqueeze(-1).unsqueeze(-1);
}

at::Tensor in_bfloat16(const at::Tensor& x) {
  return x.to(at::kBFloat16).to(at::kFloat);
}

/// Pictures [kPictures, 3, 299, 299] in [-1, 1] with detail at every scale, always the same.
at::Tensor drawn_pictures() {
  at::Generator random = at::detail::createCPUGenerator(299);
  at::Tensor sum = at::rand({kPictures, 3, 1, 1}, random).sub_(0.5);
  for (int64_t cells = 3, octave = 1; cells < 150; cells = 2 * cells - 1, ++octave) {
    const at::Tensor grid = at::rand({kPictures, 3, cells, cells}, random).sub_(0.5);
    sum = sum + at::upsample_bilinear2d(grid, {kInceptionSide, kInceptionSide}, true) *
                    (2.5 / std::pow(1.6, static_cast<double>(octave)));
  }
  return sum.clamp(-1, 1);
}

/// The features of one executor on its way through the graph: a block's channels as they come.
struct Features {
  std::vector<std::vector<at::Tensor>> parts;

  at::Tensor whole(size_t buffer) {
    std::vector<at::Tensor>& all = parts[buffer];
    if (all.size() > 1) all = {at::cat(all, 1)};
    return all.at(0);
  }
};

/// A step's sums before bias and ReLU.
at::Tensor sums(const InceptionStep& step, const at::Tensor& x, const at::Tensor& weight) {
  const InceptionConv& conv = inception_graph().convs[step.conv];
  const at::Tensor in = step.kind == Kind::kAverageConv ? at::avg_pool2d(x, 3, 1, 1, false, false) : x;
  return at::conv2d(in, weight, {}, conv.stride, {conv.pad_rows, conv.pad_columns});
}

at::Tensor add_bias(const at::Tensor& sum, const at::Tensor& bias) {
  return at::relu(sum + bias.view({1, -1, 1, 1}));
}

}  // namespace

at::Tensor round_with_feedback(const at::Tensor& weight) {
  at::Tensor rounded = weight.to(at::kCPU).contiguous().clone();
  const int64_t outputs = rounded.size(0), each = rounded.numel() / outputs;
  float* values = rounded.data_ptr<float>();
  parallel_for(0, (outputs + kChains - 1) / kChains, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kChains; i < std::min(end * kChains, outputs); i += kChains)
      if (outputs - i >= kChains)  // a number of rows that the compiler knows
        round_rows(values + i * each, kChains, each);
      else
        round_rows(values + i * each, outputs - i, each);
  });
  return rounded.to(weight.device());
}

std::vector<InceptionWeights> rounded_for_bfloat16(const std::vector<InceptionWeights>& exact, bool winograd) {
  const c10::NoGradGuard no_gradients;
  const InceptionGraph& graph = inception_graph();
  TORCH_CHECK(exact.size() == graph.convs.size(), "rounded_for_bfloat16: ", exact.size(), " convolutions");
  std::vector<InceptionWeights> rounded(exact.size());
  Features wanted{std::vector<std::vector<at::Tensor>>(graph.buffers.size())};
  Features found = wanted;
  const at::Tensor pictures = drawn_pictures().to(exact[0].weight.device()).contiguous(at::MemoryFormat::ChannelsLast);
  wanted.parts[0] = {pictures};
  found.parts[0] = {in_bfloat16(pictures)};
  for (const InceptionStep& step : graph.steps) {
    const at::Tensor x = wanted.whole(step.from), y = found.whole(step.from);
    if (step.kind == Kind::kMaxPool) {
      wanted.parts[step.to].push_back(at::max_pool2d(x, 3, step.stride, step.pad));
      found.parts[step.to].push_back(at::max_pool2d(y, 3, step.stride, step.pad));
      continue;
    }
    const InceptionWeights& from = exact[step.conv];
    InceptionWeights& to = rounded[step.conv];
    const InceptionConv& conv = graph.convs[step.conv];
    if (winograd && conv.stride == 1 && has_winograd(conv.rows, conv.columns))
      round_winograd(from.weight, to);
    else
      to.weight = round_with_feedback(from.weight);
    const at::Tensor sum = sums(step, x, from.weight), rounded_sum = sums(step, y, to.weight);
    to.bias = from.bias + (sum - rounded_sum).mean({0, 2, 3});
    wanted.parts[step.to].push_back(add_bias(sum, from.bias));
    found.parts[step.to].push_back(in_bfloat16(add_bias(rounded_sum, to.bias)));
  }
  return rounded;
}

}  // namespace tessera
