#include "weights/bind.h"

#include <ATen/ATen.h>

#include <atomic>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/parallel_for.h"
#include "kernels/linear.h"
#include "kernels/packed.h"
#include "weights/device_weights.h"
#include "weights/file_map.h"
#include "weights/foreign_file.h"
#include "weights/scaled_weights.h"
#include "weights/shown.h"

namespace tessera {
namespace {

constexpr size_t kMostListed = 10;

/// True when some element has all bits of `exponent` set (NaN or infinity). Makes no temporaries: the largest embedding
/// has 2 GB.
template <typename Bits>
bool has_bits(const at::Tensor& tensor, Bits exponent) {
  const Bits* data = static_cast<const Bits*>(tensor.const_data_ptr());
  std::atomic<bool> found = false;
  parallel_for(0, tensor.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    bool here = false;
    for (int64_t i = begin; i < end; ++i) here |= (data[i] & exponent) == exponent;
    if (here) found = true;
  });
  return found;
}

bool is_finite(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return !has_bits<uint64_t>(tensor, 0x7ff0'0000'0000'0000);
    case at::kFloat:
      return !has_bits<uint32_t>(tensor, 0x7f80'0000);
    case at::kBFloat16:
      return !has_bits<uint16_t>(tensor, 0x7f80);
    case at::kHalf:
      return !has_bits<uint16_t>(tensor, 0x7c00);
    default:
      return tensor.to(at::kFloat).isfinite().all().item<bool>();
  }
}

[[noreturn]] void fail(const TensorFile& file, const std::vector<std::string>& problems) {
  std::string text = file.where() + " does not fit this model: ";
  for (size_t i = 0; i < problems.size() && i < kMostListed; ++i) text += (i ? "; " : "") + problems[i];
  if (problems.size() > kMostListed) text += "; and " + std::to_string(problems.size() - kMostListed) + " more";
  throw Error(text);
}

std::vector<std::string> name_problems(const ParamList& params, const TensorFile& file) {
  std::vector<std::string> problems;
  std::set<std::string> wanted;
  for (const auto& param : params) {
    TORCH_CHECK(wanted.insert(param.name).second, "parameter ", param.name, " is listed twice");
    const at::IntArrayRef shape = param.shape;
    const at::Tensor* found = file.find(param.name);
    if (!found)
      problems.push_back(c10::str("missing ", param.name, " ", shape));
    else if (found->sizes() != shape)
      problems.push_back(c10::str(param.name, " is ", found->sizes(), ", want ", shape));
    else if (!found->is_floating_point())
      problems.push_back(c10::str(param.name, " holds ", found->scalar_type(),
                                  ", want floating-point numbers, or quantized ones with their scales"));
  }
  for (const auto& [name, tensor] : file.tensors())
    if (!wanted.count(name)) problems.push_back(c10::str("unexpected ", plain(name), " ", tensor.sizes()));
  return problems;
}

void refuse_lost_scales(const TensorFile& file) {
  if (lost_scales(file))
    throw Error(file.where() +
                " holds fp8 weights that reach the largest fp8 number, as only weights divided by a scale do, but no "
                "scales (weight_scale or scale_weight): get the complete file");
}

/// As what a matrix is streamed; nullopt for tensors that cannot be.
std::optional<PackedType> streamed_type(const at::Tensor& tensor) {
  if (const PackedWeight* packed = packed_weight(tensor)) return packed->type;
  if (tensor.dim() != 2 || tensor.numel() == 0) return std::nullopt;
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return PackedType::kFloat;
    case at::kBFloat16:
      return PackedType::kBfloat16;
    case at::kHalf:
      return PackedType::kHalf;
    default:
      return std::nullopt;
  }
}

/// Pages of a mapped tensor that `value` is a copy of are not needed again. Those that were `read` only to be checked
/// leave memory too: a streamed network never has them all at once.
void forget_source(const at::Tensor& source, const at::Tensor& value, bool read) {
  if (const PackedWeight* packed = packed_weight(source)) return forget_pages(packed->bytes);
  const bool copied = packed_weight(value) || (value.is_cpu() && value.const_data_ptr() != source.const_data_ptr());
  if (read || copied || value.is_cuda()) forget_pages(source);
}

}  // namespace

void check_names(const ParamList& params, const TensorFile& file) {
  const std::vector<std::string> problems = name_problems(params, file);
  if (problems.empty()) return;
  const std::string other = foreign_tensors(file);
  if (!other.empty()) throw Error(file.where() + " does not fit this model: " + other);
  fail(file, problems);
}

namespace {

/// How a tensor that does not fit is told.
std::string not_finite(const Param& param, const at::Tensor& source, at::ScalarType wanted) {
  const bool overflow = !packed_weight(source) && wanted != source.scalar_type() && is_finite(source);
  return overflow ? c10::str(param.name, " holds numbers too large for ", wanted)
                  : param.name + " holds NaN or infinity";
}

/// One call of bind.
class Binding {
 public:
  Binding(const TensorFile& file, at::ScalarType dtype, at::Device device, bool check_finite, bool int8)
      : file_(file), dtype_(dtype), device_(device), check_finite_(check_finite), int8_(int8), uploads_(device) {}

  void run(const ParamList& params) {
    for (const auto& param : params) {
      const at::Tensor& source = file_.at(param.name);
      const at::ScalarType wanted = param.keep_float ? at::kFloat : dtype_;
      check_packed(param, source);
      values_.push_back(value_of(param, source, wanted));
    }
    const std::vector<bool> finite = uploads_.all_finite();
    for (size_t i = 0; i < finite.size(); ++i)
      if (!finite[i])
        problems_.push_back(
            not_finite(*uploaded_[i], file_.at(uploaded_[i]->name), uploaded_[i]->keep_float ? at::kFloat : dtype_));
    if (!problems_.empty()) fail(file_, problems_);
    size_t next = 0;
    for (const auto& param : params) *param.slot = values_[next++];
  }

 private:
  void check_packed(const Param& param, const at::Tensor& source) {
    const PackedWeight* packed = packed_weight(source);
    if (!packed || !check_finite_) return;
    if (!all_finite(*packed)) problems_.push_back(param.name + " holds NaN or infinity");
    forget_pages(packed->bytes);
  }

  at::Tensor value_of(const Param& param, const at::Tensor& source, at::ScalarType wanted) {
    if (device_.is_cuda()) return on_gpu(param, source, wanted);
    if (int8_ && param.takes_int8 && device_.is_cpu() && fits_int8(param.shape)) {
      if (check_finite_ && !packed_weight(source) && !is_finite(source))
        problems_.push_back(param.name + " holds NaN or infinity");
      const at::Tensor value = int8_tensor(source, wanted);
      forget_source(source, value, check_finite_);
      return value;
    }
    if (packed_weight(source) && param.packable && device_.is_cpu()) return packed_as(source, wanted);
    const at::Tensor value = unpacked(source, wanted).contiguous();
    if (check_finite_ && value.is_cpu() && !packed_weight(source) && !is_finite(value))
      problems_.push_back(not_finite(param, source, wanted));
    const at::Tensor there = value.to(device_);
    forget_source(source, there, check_finite_);
    return there;
  }

  at::Tensor on_gpu(const Param& param, const at::Tensor& source, at::ScalarType wanted) {
    const bool packed = packed_weight(source) != nullptr;
    const at::Tensor value = packed ? uploads_.upload_packed(source, wanted) : uploads_.upload(source, wanted);
    if (check_finite_ && !packed) {
      uploads_.check(value);
      uploaded_.push_back(&param);
    }
    forget_source(source, value, check_finite_);
    return value;
  }

  const TensorFile& file_;
  at::ScalarType dtype_;
  at::Device device_;
  bool check_finite_, int8_;
  std::vector<std::string> problems_;
  std::vector<at::Tensor> values_;  // by parameter
  DeviceWeights uploads_;
  std::vector<const Param*> uploaded_;  // those that are checked on the GPU
};

}  // namespace

void bind(const ParamList& params, const TensorFile& file, at::ScalarType dtype, at::Device device, bool check_finite,
          bool int8) {
  check_names(params, file);
  if (check_finite) refuse_lost_scales(file);
  Binding(file, dtype, device, check_finite, int8).run(params);
}

TensorFile streamed(const ParamList& params, const TensorFile& file) {
  std::map<std::string, at::Tensor> tensors = file.tensors();
  for (const auto& param : params) {
    const auto entry = tensors.find(param.name);
    if (!param.packable || entry == tensors.end()) continue;
    const auto type = streamed_type(entry->second);
    if (!type) continue;
    const PackedWeight* packed = packed_weight(entry->second);
    PackedWeight weight = packed ? *packed
                                 : PackedWeight{.type = *type,
                                                .shape = entry->second.sizes().vec(),
                                                .bytes = entry->second.contiguous().view(at::kByte).view({-1})};
    weight.release = forget_pages;
    entry->second = packed_tensor(std::move(weight), entry->second.scalar_type());
  }
  return {std::move(tensors), file.where(), file.metadata()};
}

}  // namespace tessera
