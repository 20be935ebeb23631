#include "models/inception/inception.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/GradMode.h>

#include "core/device.h"
#include "core/error.h"
#include "kernels/instruction_set.h"
#include "models/inception/direct.h"

namespace tessera {
namespace {

/// oneDNN's convolution with ReLU behind it, weights already in its order; it takes a float32 bias to bfloat16 weights.
at::Tensor onednn_conv_relu(const InceptionConv& conv, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
  using Signature = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::IntArrayRef,
                               c10::IntArrayRef, c10::IntArrayRef, int64_t, c10::string_view,
                               c10::List<std::optional<at::Scalar>>, std::optional<c10::string_view>);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_convolution_pointwise", "").typed<Signature>();
  const std::vector<int64_t> padding{conv.pad_rows, conv.pad_columns}, stride{conv.stride, conv.stride}, ones{1, 1};
  return op.call(x, weight, std::optional<at::Tensor>(bias), padding, stride, ones, 1, "relu",
                 c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

}  // namespace

Inception::Inception() : layers_(inception_graph().convs.size()) {}
Inception::~Inception() = default;
Inception::Inception(Inception&&) noexcept = default;
Inception& Inception::operator=(Inception&&) noexcept = default;

void Inception::params(ParamList& out, const std::string& prefix) {
  const std::vector<InceptionConv>& convs = inception_graph().convs;
  for (size_t i = 0; i < convs.size(); ++i) {
    const InceptionConv& conv = convs[i];
    const std::string name = prefix + conv.name;
    Layer& layer = layers_[i];
    out.add(name + ".conv.weight", layer.weight, {conv.out, conv.in, conv.rows, conv.columns});
    out.add_float(name + ".bn.weight", layer.norm_weight, {conv.out}, Init::ones());
    out.add_float(name + ".bn.bias", layer.norm_bias, {conv.out}, Init::zeros());
    out.add_float(name + ".bn.running_mean", layer.mean, {conv.out}, Init::zeros());
    out.add_float(name + ".bn.running_var", layer.variance, {conv.out}, Init::ones());
  }
  out.add(prefix + "fc.weight", fc_weight_, {kInceptionClasses, 2048});
  out.add_float(prefix + "fc.bias", fc_bias_, {kInceptionClasses}, Init::zeros());
}

void Inception::prepare(at::ScalarType dtype, InceptionKernels kernels) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf, "Inception: dtype ", dtype);
  dtype_ = dtype;
  for (Layer& layer : layers_) {
    const at::Tensor scale =
        layer.norm_weight.to(at::kDouble) * (layer.variance.to(at::kDouble) + kInceptionNormEps).rsqrt();
    layer.folded = (layer.weight.to(at::kDouble) * scale.view({-1, 1, 1, 1})).to(at::kFloat);
    layer.bias = (layer.norm_bias.to(at::kDouble) - layer.mean.to(at::kDouble) * scale).to(at::kFloat);
  }
  const at::Device device = layers_.front().folded.device();
  const bool can_direct = device.is_cpu() && dtype != at::kHalf && has_direct_inception(dtype);
  if (kernels == InceptionKernels::kDirect && !can_direct)
    throw Error("this machine lacks AVX-512 for " + std::string(c10::toString(dtype)) + ", which these kernels need");
  // Tile registers (AMX) multiply several times faster than our AVX-512 kernels; oneDNN uses them.
  const bool tiles = dtype == at::kBFloat16 && has_tile_registers();
  std::vector<InceptionWeights> weights;
  for (const Layer& layer : layers_) weights.push_back({layer.folded, layer.bias, {}});
  const bool direct =
      kernels == InceptionKernels::kDirect || (kernels == InceptionKernels::kAuto && can_direct && !tiles);
  if (dtype == at::kBFloat16) weights = rounded_for_bfloat16(weights, /*winograd=*/direct);
  if (direct) {
    direct_ = std::make_unique<DirectInception>(weights, dtype);
    return;
  }
  direct_ = nullptr;
  onednn_ = device.is_cpu() && dtype == at::kBFloat16 && has_fast_bfloat16(device);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const InceptionConv& conv = inception_graph().convs[i];
    Layer& layer = layers_[i];
    layer.bias = weights[i].bias;
    layer.packed = weights[i].weight.to(dtype).contiguous(at::MemoryFormat::ChannelsLast);
    if (onednn_)
      layer.packed = at::mkldnn_reorder_conv2d_weight(layer.packed.to_mkldnn(), {conv.pad_rows, conv.pad_columns},
                                                      {conv.stride, conv.stride}, {1, 1}, 1);
  }
}

at::Tensor Inception::convolve(const InceptionConv& conv, const Layer& layer, const at::Tensor& x) const {
  if (onednn_) return onednn_conv_relu(conv, x, layer.packed, layer.bias);
  return at::relu(at::conv2d(x, layer.packed, layer.bias.to(dtype_), conv.stride, {conv.pad_rows, conv.pad_columns}));
}

at::Tensor Inception::compose(const at::Tensor& pixels, double scale, double shift, const InceptionTap& tap) const {
  const InceptionGraph& graph = inception_graph();
  std::vector<at::Tensor> buffers(graph.buffers.size());
  std::vector<std::vector<at::Tensor>> parts(graph.buffers.size());
  const at::Tensor input = (pixels * scale + shift).to(dtype_);
  buffers[0] = input.contiguous(at::MemoryFormat::ChannelsLast);
  const auto whole = [&](size_t index) -> const at::Tensor& {  // a block's branches side by side
    if (!buffers[index].defined()) buffers[index] = at::cat(parts[index], 1);
    parts[index].clear();
    return buffers[index];
  };
  std::vector<size_t> last_use(graph.buffers.size());
  for (size_t i = 0; i < tap.steps; ++i) last_use[graph.steps[i].from] = i;
  for (size_t i = 0; i < tap.steps; ++i) {
    const InceptionStep& step = graph.steps[i];
    const at::Tensor& x = whole(step.from);
    at::Tensor out;
    if (step.kind == InceptionStep::Kind::kMaxPool)
      out = at::max_pool2d(x, 3, step.stride, step.pad);
    else if (step.kind == InceptionStep::Kind::kConv)
      out = convolve(graph.convs[step.conv], layers_[step.conv], x);
    else {
      const at::Tensor mean = at::avg_pool2d(x, 3, 1, 1, false, /*count_include_pad=*/false);
      out = convolve(graph.convs[step.conv], layers_[step.conv], mean);
    }
    parts[step.to].push_back(out);
    if (last_use[step.from] == i) buffers[step.from] = at::Tensor();
  }
  return whole(tap.buffer).to(at::kFloat).mean({2, 3});  // [B, dims]
}

at::Tensor Inception::features(const at::Tensor& pixels, double scale, double shift, int64_t dims) const {
  TORCH_CHECK(pixels.dim() == 4 && pixels.size(1) == 3 && pixels.size(2) == kInceptionSide &&
                  pixels.size(3) == kInceptionSide && pixels.scalar_type() == at::kFloat,
              "Inception: want [B, 3, 299, 299] float32, got ", pixels.sizes(), " ", pixels.scalar_type());
  const InceptionTap& tap = inception_graph().tap(dims);
  const c10::NoGradGuard no_gradients;
  if (pixels.size(0) == 0) return at::empty({0, dims}, pixels.options());
  if (direct_) return direct_->features(pixels, scale, shift, tap);
  return compose(pixels, scale, shift, tap);
}

at::Tensor Inception::logits(const at::Tensor& pooled) const {
  TORCH_CHECK(pooled.dim() == 2 && pooled.size(1) == 2048, "Inception: want [B, 2048], got ", pooled.sizes());
  return pooled.to(at::kFloat).matmul(fc_weight_.to(at::kFloat).t());
}

}  // namespace tessera
