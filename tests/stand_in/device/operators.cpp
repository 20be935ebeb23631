// Operators on the stand-in: each runs LibTorch's CPU kernel on the kernels' view of device memory. A CPU tensor among
// device tensors, or tensors of two devices, is an error, as it is on a GPU.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <algorithm>
#include <set>

#include "tests/stand_in/device/arena.h"
#include "tests/stand_in/device/backend.h"
#include "tests/stand_in/device/queue.h"

namespace stand_in {
namespace {

const c10::DispatchKeySet kDeviceKeys(c10::DispatchKey::CUDA), kHostKeys(c10::DispatchKey::CPU);

/// The calling thread's device for as long as this lives.
class OnDevice {
 public:
  explicit OnDevice(std::optional<c10::Device> device) : before_(current_device()) {
    if (device && device->has_index()) set_current_device(device->index());
  }
  ~OnDevice() { set_current_device(before_); }

 private:
  int before_;
};

at::Tensor with_sizes_of(const at::Tensor& like, at::Tensor out) {
  out.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  if (like.is_conj()) out._set_conj(true);
  if (like.is_neg()) out._set_neg(true);
  return out;
}

/// `original`'s memory in the shape of `like`: as LibTorch makes views, inference tensors of inference tensors alone.
at::Tensor view_of(const at::Tensor& original, const at::Tensor& like) {
  return with_sizes_of(
      like, at::Tensor(c10::make_intrusive<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(original.storage()),
                                                            original.key_set(), like.dtype())));
}

/// A device tensor as a CPU tensor of the same bytes; any other tensor is itself.
at::Tensor host_view(const at::Tensor& t) {
  if (!t.defined() || !t.is_cuda()) return t;
  void* pointer = kernel_view(const_cast<void*>(t.storage().data()));
  c10::Storage storage(c10::Storage::use_byte_size_t(), t.storage().nbytes(),
                       c10::DataPtr(pointer, c10::Device(c10::kCPU)), c10::GetAllocator(c10::kCPU), /*resizable=*/true);
  return with_sizes_of(t, at::Tensor(c10::make_intrusive<c10::TensorImpl>(std::move(storage), kHostKeys, t.dtype())));
}

/// What a kernel made, on the device.
at::Tensor moved_to(c10::Device device, const at::Tensor& made) {
  const OnDevice on(device);
  const size_t bytes = made.storage().nbytes();
  c10::DataPtr memory = device_memory().allocate(bytes);
  if (bytes > 0) device_memory().copy_data(memory.get(), made.storage().data(), bytes);
  c10::Storage storage(c10::Storage::use_byte_size_t(), bytes, std::move(memory), &device_memory(), true);
  return with_sizes_of(made,
                       at::Tensor(c10::make_intrusive<c10::TensorImpl>(std::move(storage), kDeviceKeys, made.dtype())));
}

bool is_view(const std::string& name) {
  static const std::set<std::string> views = {"aten::view",         "aten::as_strided",      "aten::_reshape_alias",
                                              "aten::view_as_real", "aten::view_as_complex", "aten::unfold"};
  return views.count(name) > 0 || name.find("view") != std::string::npos;
}

bool drains(const std::string& name) {
  static const std::set<std::string> waiting = {"aten::nonzero", "aten::masked_select", "aten::equal",
                                                "aten::is_nonzero", "aten::_unique2"};
  return waiting.count(name) > 0;
}

/// As CUDA's kernels ask.
bool allows_tf32(at::Float32Op op) {
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, op) == at::Float32Precision::TF32;
}

void count_product(const at::Tensor& of, bool tf32) {
  switch (of.scalar_type()) {
    case at::kBFloat16:
      return count(Count::kBfloatProducts);
    case at::kHalf:
      return count(Count::kHalfProducts);
    case at::kFloat:
      count(Count::kFloatProducts);
      if (tf32) count(Count::kTf32Products);
      return;
    default:
      return;
  }
}

bool is_product(const std::string& name) {
  static const std::set<std::string> products = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"};
  return products.count(name) > 0;
}

/// One call of an operator: its arguments become CPU tensors, its results device tensors.
class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : op_(op), schema_(op.schema()), name_(schema_.operator_name().name) {}

  void operator()(torch::jit::Stack& stack) {
    if (!is_view(name_)) count_kernel(name_);
    if (drains(name_)) drain();
    const size_t arguments = stack.size() - schema_.arguments().size();
    for (size_t i = arguments; i < stack.size(); ++i) stack[i] = to_host(stack[i]);
    if (is_product(name_) && !originals_.empty()) count_product(originals_.back(), allows_tf32(at::Float32Op::MATMUL));
    op_.redispatchBoxed(kHostKeys, &stack);
    for (size_t i = stack.size() - schema_.returns().size(); i < stack.size(); ++i) stack[i] = to_device(stack[i]);
    for (size_t i = 0; i < hosts_.size(); ++i) take_changes(originals_[i], hosts_[i]);
  }

 private:
  c10::IValue to_host(const c10::IValue& value) {
    if (value.isTensor()) return host(value.toTensor(), false);
    if (value.isTensorList()) {
      std::vector<at::Tensor> out;
      for (const at::Tensor& t : value.toTensorVector()) out.push_back(host(t, true));
      return out;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> out;
      for (const auto& entry : value.toOptionalTensorList()) {
        const std::optional<at::Tensor> t = entry;
        out.push_back(t ? std::optional<at::Tensor>(host(*t, true)) : t);
      }
      return out;
    }
    if (value.isDevice() && value.toDevice().is_cuda()) {
      if (!device_) device_ = value.toDevice();
      return c10::Device(c10::kCPU);
    }
    return value;
  }

  at::Tensor host(const at::Tensor& t, bool in_list) {
    if (!t.defined()) return t;
    if (!t.is_cuda()) {
      const bool index = in_list && name_.find("index") != std::string::npos;  // indices may lie on the CPU
      TORCH_CHECK(t.dim() == 0 || index, "stand-in: Expected all tensors to be on the same device: ", name_, " got a ",
                  t.device(), " tensor ", t.sizes(), " beside ", device_ ? device_->str() : "cuda");
      if (index) count(Count::kUploads);
      return t;
    }
    TORCH_CHECK(!device_ || *device_ == t.device(), "stand-in: Expected all tensors to be on the same device: ", name_,
                " got ", *device_, " and ", t.device());
    device_ = t.device();
    originals_.push_back(t);
    hosts_.push_back(host_view(t));
    return hosts_.back();
  }

  c10::IValue to_device(const c10::IValue& value) {
    if (value.isTensor()) return device(value.toTensor());
    if (!value.isTensorList()) return value;
    std::vector<at::Tensor> out;
    for (const at::Tensor& t : value.toTensorVector()) out.push_back(device(t));
    return out;
  }

  at::Tensor device(const at::Tensor& made) {
    if (!made.defined()) return made;
    for (size_t i = 0; i < hosts_.size(); ++i)
      if (made.is_same(hosts_[i])) return originals_[i];
    for (size_t i = 0; i < hosts_.size(); ++i)
      if (made.storage().nbytes() > 0 && made.storage().data() == hosts_[i].storage().data())
        return view_of(originals_[i], made);
    return moved_to(device_.value_or(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(current_device()))), made);
  }

  /// A kernel may have given a tensor another shape, or larger memory.
  void take_changes(const at::Tensor& original, const at::Tensor& host) const {
    if (host.sizes() == original.sizes() && host.strides() == original.strides()) return;
    c10::TensorImpl* impl = original.unsafeGetTensorImpl();
    if (host.storage().data() != kernel_view(const_cast<void*>(original.storage().data())))
      impl->set_storage_keep_dtype(moved_to(original.device(), host).storage());
    impl->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
  }

  const c10::OperatorHandle& op_;
  const c10::FunctionSchema& schema_;
  const std::string name_;
  std::optional<c10::Device> device_;
  std::vector<at::Tensor> originals_, hosts_;
};

void any_operator(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  Call call(op);
  call(*stack);
}

at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const OnDevice on(device);
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &device_memory(), kDeviceKeys,
                                   dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  const OnDevice on(device);
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                           &device_memory(), kDeviceKeys, dtype.value_or(at::kFloat));
}

/// Whether a copy is one of bytes: else CUDA copies by way of the device, in bytes again.
bool same_layout(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.is_non_overlapping_and_dense() && a.strides() == b.strides();
}

void upload(const at::Tensor& to, const at::Tensor& from, bool goes_on) {
  count(Count::kUploads);
  count(Count::kUploadBytes, from.nbytes());
  const bool pinned = is_pinned(from.storage().data());
  if (!pinned) count(Count::kUploadsUnpinned);
  if (!goes_on || !same_layout(to, from)) {
    drain();
    host_view(to).copy_(from);
  } else if (pinned) {
    upload_later(kernel_view(to.data_ptr()), from.const_data_ptr(), from.nbytes());
  } else {
    host_view(to).copy_(from);
  }
}

void download(const at::Tensor& to, const at::Tensor& from, bool goes_on) {
  count(Count::kDownloads);
  count(Count::kDownloadBytes, to.nbytes());
  if (goes_on && same_layout(to, from) && is_pinned(to.storage().data()))
    return download_later(to.data_ptr(), kernel_view(from.data_ptr()), from.nbytes());
  drain();
  at::Tensor host = to;
  host.copy_(host_view(from));
}

at::Tensor& copy(at::Tensor& self, const at::Tensor& from, bool non_blocking) {
  if (self.numel() == 0) return self;
  const at::Tensor source = from.expand_as(self);
  if (!source.is_cuda()) {
    upload(self, source, non_blocking);
  } else if (!self.is_cuda()) {
    download(self, source, non_blocking);
  } else {
    count_kernel("aten::copy_");
    host_view(self).copy_(host_view(source));
  }
  return self;
}

at::Scalar read_number(const at::Tensor& t) {
  count(Count::kDownloads);
  drain();
  return host_view(t).item();
}

bool is_channels_last(const at::Tensor& x) {
  return x.is_contiguous(x.dim() == 5 ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::ChannelsLast) &&
         !x.is_contiguous();
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                       bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  const at::Tensor offset = bias.value_or(at::Tensor());
  for (const at::Tensor& t : {weight, offset})
    TORCH_CHECK(!t.defined() || t.device() == x.device(), "stand-in: convolution of ", x.device(), " with ",
                t.device());
  count_kernel("aten::convolution");
  count(Count::kConvolutions);
  if (is_channels_last(x)) count(Count::kChannelsLast);
  if (at::globalContext().benchmarkCuDNN()) count(Count::kTunedConvolutions);
  count_product(x, allows_tf32(at::Float32Op::CONV));
  const auto host_bias = offset.defined() ? std::optional<at::Tensor>(host_view(offset)) : std::nullopt;
  return moved_to(x.device(), at::convolution_symint(host_view(x), host_view(weight), host_bias, stride, padding,
                                                     dilation, transposed, output_padding, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight, at::OptionalSymIntArrayRef bias_sizes,
    c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed,
    c10::SymIntArrayRef output_padding, c10::SymInt groups, std::array<bool, 3> wanted) {
  count_kernel("aten::convolution_backward");
  const auto [dx, dw, db] =
      at::convolution_backward_symint(host_view(gradient), host_view(x), host_view(weight), bias_sizes, stride, padding,
                                      dilation, transposed, output_padding, groups, wanted);
  const auto back = [&](const at::Tensor& t) { return t.defined() ? moved_to(x.device(), t) : t; };
  return {back(dx), back(dw), back(db)};
}

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&any_operator>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("copy_", &copy);
  library.impl("_local_scalar_dense", &read_number);
  library.impl("convolution", &convolution);
  library.impl("convolution_backward", &convolution_backward);
}

}  // namespace stand_in
