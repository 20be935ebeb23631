#include "kernels/device_kernels.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "core/error.h"
#include "core/this_file.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibrary = "libtessera_cuda.so";
constexpr const char* kVariable = "TESSERA_CUDA_KERNELS";

using Slot = std::atomic<const cuda::Kernels*>;

Slot& slot_of(at::DeviceType type) {
  static std::array<Slot, static_cast<size_t>(at::COMPILE_TIME_MAX_DEVICE_TYPES)> slots{};
  return slots.at(static_cast<size_t>(type));
}

/// Empty when there is none.
std::string plug_in() {
  if (const char* given = std::getenv(kVariable)) return given == std::string("off") ? "" : given;
  const fs::path folder = this_file().parent_path();
  std::error_code ignored;
  for (const fs::path& place : {folder, folder.parent_path() / "lib" / "tessera"})
    if (fs::exists(place / kLibrary, ignored)) return place / kLibrary;
  return "";
}

void load_once() {
  static std::once_flag loaded;
  std::call_once(loaded, [] {
    const std::string path = plug_in();
    if (!path.empty()) use_device_kernels(at::kCUDA, load_device_kernels(path));
  });
}

}  // namespace

const cuda::Kernels* device_kernels(const at::Tensor& x) {
  if (x.is_cuda()) load_once();
  const cuda::Kernels* kernels = slot_of(x.device().type()).load(std::memory_order_acquire);
  if (!kernels || x.numel() == 0 || needs_gradient(x)) return nullptr;
  const auto dtype = x.scalar_type();
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf ? kernels : nullptr;
}

void use_device_kernels(at::DeviceType type, const cuda::Kernels* kernels) {
  slot_of(type).store(kernels, std::memory_order_release);
}

const cuda::Kernels* load_device_kernels(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* reason = dlerror();
    throw Error(path + " cannot be loaded (" + (reason ? reason : "unknown reason") + "); build it again or set " +
                kVariable + "=off");
  }
  const auto get = reinterpret_cast<const cuda::Kernels* (*)()>(dlsym(library, "tessera_cuda_kernels"));
  const cuda::Kernels* kernels = get ? get() : nullptr;
  if (!kernels || kernels->version != cuda::kVersion)
    throw Error(path + " is of another version of tessera; build it again or set " + kVariable + "=off");
  return kernels;
}

cuda::Value value_of(at::ScalarType dtype) {
  if (dtype == at::kFloat) return cuda::Value::kFloat;
  TORCH_CHECK(dtype == at::kBFloat16 || dtype == at::kHalf, "no device kernel takes ", dtype);
  return dtype == at::kHalf ? cuda::Value::kHalf : cuda::Value::kBfloat16;
}

at::Tensor dense_like(const at::Tensor& t, const at::Tensor& x, at::ScalarType dtype) {
  return t.to(x.options().dtype(dtype)).contiguous();
}

namespace detail {

DeviceStream::DeviceStream(const at::Device& device) : device_(device), before_(device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  before_ = guard.exchangeDevice(device);
  handle_ = guard.getStream(device).native_handle();
}

DeviceStream::~DeviceStream() {
  if (!device_.is_cpu()) c10::impl::VirtualGuardImpl(device_.type()).uncheckedSetDevice(before_);
}

void check_launch(const cuda::Kernels& kernels, int error) {
  TORCH_CHECK(error == 0, "a kernel of ", kLibrary, " failed: ", kernels.error_text(error));
}

}  // namespace detail
}  // namespace tessera
