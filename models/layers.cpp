#include "models/layers.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "kernels/activation.h"
#include "kernels/library_linear.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/packed.h"
#include "kernels/value_type.h"

namespace tessera {

Init xavier(int64_t in, int64_t out) {
  return Init::uniform(std::sqrt(6.0 / static_cast<double>(in + out)));
}

namespace {

/// The product with a packed weight: so many rows of it are unpacked at a time that they stay in a cache.
at::Tensor packed_linear(const at::Tensor& x, const PackedWeight& weight, const at::Tensor& bias) {
  constexpr int64_t kNumbersAtOnce = 1 << 20;
  const int64_t rows = weight.rows(), columns = weight.columns();
  const int64_t most = std::clamp<int64_t>(kNumbersAtOnce / columns, 1, rows);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = rows;
  const at::Tensor out = at::empty(shape, x.options()), scratch = at::empty({most, columns}, x.options());
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    const at::Tensor part = scratch.narrow(0, 0, count);
    unpack_rows(weight, first, count, part);
    out.narrow(-1, first, count).copy_(linear_rows(x, part, bias.defined() ? bias.narrow(0, first, count) : bias));
  }
  if (weight.release) weight.release(weight.bytes);
  return out;
}

bool takes_wide_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const bool fits = can_vectorize(x) && x.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kBFloat16 &&
                    weight.is_cpu() && prefers_wide_linear();
  return fits && !needs_gradient(x) && !needs_gradient(weight) && !(bias.defined() && needs_gradient(bias));
}

/// Sample by sample: the order of a row's sums may depend on how many rows there are.
at::Tensor arranged_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (x.dim() < 3 || x.size(0) == 1) return library_linear(x, weight, bias);
  std::vector<at::Tensor> samples;
  for (const at::Tensor& sample : x.split(1)) samples.push_back(library_linear(sample, weight, bias));
  return at::cat(samples);
}

at::Tensor library_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (is_arranged(weight)) return arranged_linear(x, weight, bias);
  return at::linear(x, weight, bias.defined() ? c10::optional<at::Tensor>(bias) : c10::nullopt);
}

at::Tensor plain_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  constexpr int64_t kLeastRowsOfThread = 8;
  const int64_t least = kLeastRowsOfThread * at::get_num_threads(), rows = x.numel() / x.size(-1);
  // Of numbers with gaps the library rounds the product before it adds the bias.
  if (!x.is_cpu() || rows >= least) return library_product(x.contiguous(), weight, bias);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  const at::Tensor padded = at::constant_pad_nd(x.reshape({rows, x.size(-1)}), {0, 0, 0, least - rows});
  return library_product(padded, weight, bias).narrow(0, 0, rows).reshape(shape);
}

}  // namespace

namespace {

at::Tensor activated(const at::Tensor& y, Activation activation) {
  return activation == Activation::kGelu ? gelu_tanh(y) : y;
}

}  // namespace

at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Activation activation) {
  if (const PackedWeight* packed = packed_weight(weight)) {
    const bool int8 = packed->type == PackedType::kInt8Panels && can_vectorize(x);
    return int8 ? int8_linear(x.contiguous(), *packed, bias, activation)
                : activated(packed_linear(x, *packed, bias), activation);
  }
  if (takes_wide_linear(x, weight, bias)) return wide_linear(x.contiguous(), weight.contiguous(), bias, activation);
  return activated(plain_linear(x, weight, bias), activation);
}

void Linear::params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias) {
  params(out, prefix, in, out_features, with_bias, Init::uniform(1.0 / std::sqrt(static_cast<double>(in))));
}

void Linear::params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias,
                    Init weight_init) {
  out.add(prefix + "weight", weight, {out_features, in}, std::move(weight_init));
  out.last_is_packable();
  out.last_takes(low_rank);
  if (with_bias) out.add(prefix + "bias", bias, {out_features}, Init::zeros());
}

void Linear::block_params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias,
                          Init weight_init) {
  out.add(prefix + "weight", weight, {out_features, in}, std::move(weight_init));
  out.last_takes_int8();
  out.last_takes(low_rank);
  if (with_bias) out.add(prefix + "bias", bias, {out_features}, Init::zeros());
}

void Linear::float_params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features,
                          Init weight_init) {
  out.add_float(prefix + "weight", weight, {out_features, in}, std::move(weight_init));
  out.last_is_packable();
  out.add_float(prefix + "bias", bias, {out_features}, Init::zeros());
}

at::Tensor Linear::each_row(const at::Tensor& x) const {
  const bool plain = x.is_cpu() && !packed_weight(weight) && x.scalar_type() == weight.scalar_type() && bias.defined();
  if (!plain || needs_gradient(x) || needs_gradient(weight)) return (*this)(x);
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < x.size(0); ++i)
    rows.push_back(i > 0 && at::equal(x[i], x[i - 1]) ? rows.back() : at::addmv(bias, weight, x[i]));
  return at::stack(rows);
}

at::Tensor Linear::apply(const at::Tensor& x, Activation activation) const {
  const auto dtype = x.scalar_type();
  const at::Tensor matrix = packed_weight(weight) ? weight : weight.to(dtype);
  const at::Tensor offset = bias.defined() ? bias.to(dtype) : at::Tensor();
  if (!low_rank.down.defined()) return linear_rows(x, matrix, offset, activation);
  const at::Tensor added = at::linear(at::linear(x, low_rank.down.to(dtype)), low_rank.up.to(dtype)) * low_rank.scale;
  return activated(linear_rows(x, matrix, offset) + added, activation);
}

void LayerNorm::params(ParamList& out, const std::string& prefix, int64_t channels) {
  out.add_float(prefix + "weight", weight, {channels}, Init::ones());
  out.add_float(prefix + "bias", bias, {channels}, Init::zeros());
}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  const auto like_x = [&](const at::Tensor& t) {
    return t.defined() ? c10::optional<at::Tensor>(t.to(x.scalar_type())) : c10::nullopt;
  };
  return at::layer_norm(x, {x.size(-1)}, like_x(weight), like_x(bias), eps);
}

void RmsNorm::params(ParamList& out, const std::string& prefix, int64_t channels) {
  out.add_float(prefix + "weight", weight, {channels}, Init::ones());
}

at::Tensor RmsNorm::wide(const at::Tensor& x) const {
  return rms_norm(x, weight, eps, wide_type(x));
}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const {
  return rms_norm(x, weight, eps, x.scalar_type());
}

}  // namespace tessera
