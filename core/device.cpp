#include "core/device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <mutex>

#include "core/cuda_driver.h"
#include "core/device_settings.h"
#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSmallModel = 100'000'000;
constexpr int kFirstMajorWithBfloat16 = 8;  // Ampere; Turing (7.5) only emulates it

/// The CUDA library beside libtorch_cpu.so, else in the folder that `scripts/setup --cuda` fills next to the CPU one
/// (libtorch-VERSION-cuda next to libtorch-VERSION-cpu); empty when absent.
fs::path cuda_library() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &info) == 0) return {};
  const fs::path beside = fs::path(info.dli_fname).parent_path();
  const fs::path installed = beside.parent_path().parent_path();
  std::string sibling = installed.filename().string();
  if (sibling.ends_with("-cpu")) sibling.replace(sibling.size() - 4, 4, "-cuda");
  for (const fs::path& folder : {beside, installed.parent_path() / sibling / "torch" / "lib"}) {
    std::error_code ignored;
    if (fs::exists(folder / "libtorch_cuda.so", ignored)) return folder / "libtorch_cuda.so";
  }
  return {};
}

/// Empty when CUDA is ready; else what is missing and what to do.
std::string load_cuda() {
  const fs::path library = cuda_library();
  if (library.empty()) return "LibTorch's CUDA library (libtorch_cuda.so) is not installed; run scripts/setup --cuda";
  if (std::string problem = driver_problem(ask_cuda_driver()); !problem.empty()) return problem;
  if (!dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
    const char* reason = dlerror();
    return library.string() + " cannot be loaded (" + (reason ? reason : "unknown reason") +
           "); run scripts/setup --cuda";
  }
  if (at::detail::getCUDAHooks().getNumGPUs() < 1)
    return "LibTorch finds no CUDA device that it can use; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device "
           "cpu";
  return "";
}

/// The device with that index, and LibTorch set up for it.
at::Device opened_gpu(int64_t index) {
  static std::once_flag once;
  std::call_once(once, [&] { apply_gpu_settings(cuda_major(static_cast<int>(index))); });
  return {at::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

/// "gpu" and "gpu:N" are "cuda" and "cuda:N".
std::string canonical_device(const std::string& name) {
  return name == "gpu" || name.starts_with("gpu:") ? "cuda" + name.substr(3) : name;
}

int64_t cuda_index(const std::string& name) {
  if (name == "cuda") return 0;
  const std::string digits = name.substr(5);
  int64_t index = -1;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (failure != std::errc() || end != digits.data() + digits.size() || index < 0 || index > 127)
    throw Error("--device " + name + ": want cpu, cuda, cuda:N with N from 0 to 127, or auto");
  return index;
}

}  // namespace

at::Device open_device(const std::string& given) {
  const std::string name = canonical_device(given);
  if (name == "cpu") return at::kCPU;
  if (name == "auto") return load_cuda().empty() ? opened_gpu(0) : at::Device(at::kCPU);
  if (name != "cuda" && name.rfind("cuda:", 0) != 0)
    throw Error("--device: unknown device \"" + given + "\"" +
                suggestion(name, {"cpu", "cuda", "cuda:0", "gpu", "auto"}));
  const int64_t index = cuda_index(name);
  const std::string missing = load_cuda();
  if (!missing.empty()) throw Error("--device " + given + ": " + missing);
  const int64_t devices = at::detail::getCUDAHooks().getNumGPUs();
  if (index >= devices)
    throw Error("--device " + given + ": found " + counted(devices, "CUDA device") + ", numbered from 0");
  return opened_gpu(index);
}

int64_t gpu_count() {
  return load_cuda().empty() ? at::detail::getCUDAHooks().getNumGPUs() : 0;
}

std::string device_of_process(const std::string& name, int number) {
  const bool named = name.find(':') != std::string::npos;
  if (number == 0 || named || !open_device(name).is_cuda()) return name;
  return "cuda:" + std::to_string(number % std::max<int64_t>(1, gpu_count()));
}

void synchronize(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

bool has_fast_bfloat16(at::Device device) {
  return has_fast_bfloat16(device.type(), device.is_cuda() ? cuda_major(device.index()) : 0);
}

bool has_fast_bfloat16(at::DeviceType type, int major) {
  if (type == at::kCUDA) return major >= kFirstMajorWithBfloat16;
  return type == at::kCPU && __builtin_cpu_supports("avx512bf16");
}

at::ScalarType auto_dtype(bool fast_bfloat16, at::ScalarType stored, int64_t parameters) {
  const bool keep_float = stored == at::kFloat && parameters < kSmallModel;
  return fast_bfloat16 && !keep_float ? at::kBFloat16 : at::kFloat;
}

Precision choose_precision(const std::string& name, at::Device device, at::ScalarType stored, int64_t parameters) {
  if (name != kInt8Dtype) return {choose_dtype(name, device, stored, parameters)};
  if (!device.is_cpu()) throw Error("--dtype int8 works on the CPU only: add --device cpu, or use bf16 on the GPU");
  return {has_fast_bfloat16(device) ? at::kBFloat16 : at::kFloat, true};
}

at::ScalarType choose_dtype(const std::string& name, at::Device device, at::ScalarType stored, int64_t parameters) {
  if (name == "auto") return auto_dtype(has_fast_bfloat16(device), stored, parameters);
  const std::optional<at::ScalarType> dtype = find_dtype(name);
  if (!dtype) throw Error("--dtype: unknown value \"" + name + "\"" + suggestion(name, dtype_choices("auto")));
  if (dtype == at::kHalf && device.is_cpu()) throw Error("--dtype " + name + " needs a GPU; on a CPU use bf16 or fp32");
  const int major = device.is_cuda() ? cuda_major(device.index()) : 0;
  if (dtype == at::kBFloat16 && major > 0 && !has_fast_bfloat16(at::kCUDA, major))
    throw Error("--dtype " + name + " needs a GPU of compute capability 8.0 or later; on this one use fp16 or fp32");
  return *dtype;
}

}  // namespace tessera
