#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "kernels/cuda/launch.h"

// Kernels of our own on devices other than the CPU. They come from a plug-in: a library that knows neither LibTorch nor
// this program. Without it everything is composed of ATen operations.
namespace tessera {

/// The kernels for x's device, when x is float32, bfloat16 or float16, not empty, and wants no gradient; else null. The
/// first tensor on a GPU loads libtessera_cuda.so: $TESSERA_CUDA_KERNELS if that is set ("off": none), else the file
/// beside this program or library, or in the folder lib/tessera next to that one. Throws Error when the file cannot be
/// loaded or is of another version; that it is missing is none.
const cuda::Kernels* device_kernels(const at::Tensor& x);

/// Uses `kernels` (null: none) for tensors of a type of device from now on.
void use_device_kernels(at::DeviceType type, const cuda::Kernels* kernels);

/// The kernels of a library at `path`. Throws Error, see above.
const cuda::Kernels* load_device_kernels(const std::string& path);

cuda::Value value_of(at::ScalarType dtype);

/// Contiguous, as `dtype` and on x's device.
at::Tensor dense_like(const at::Tensor& t, const at::Tensor& x, at::ScalarType dtype);

namespace detail {
/// The device's stream while it lives; the device is the current one.
class DeviceStream {
 public:
  explicit DeviceStream(const at::Device& device);
  ~DeviceStream();
  void* handle() const { return handle_; }

 private:
  at::Device device_, before_;
  void* handle_ = nullptr;
};
void check_launch(const cuda::Kernels& kernels, int error);
}  // namespace detail

/// Queues a kernel on the current stream of x's device. Throws c10::Error when it cannot be launched.
template <typename Arguments>
void run_kernel(const cuda::Kernels& kernels, const at::Tensor& x, int (*launch)(const Arguments&, void*),
                const Arguments& arguments) {
  const detail::DeviceStream stream(x.device());
  detail::check_launch(kernels, launch(arguments, stream.handle()));
}

}  // namespace tessera
