#include "core/cuda_driver.h"

#include <dlfcn.h>

#include <algorithm>

namespace tessera {
namespace {

// CUresult and CUdevice_attribute of cuda.h.
constexpr int kStubLibrary = 34, kInsufficientDriver = 35, kNoDevice = 100;
constexpr int kMajorAttribute = 75;

template <typename Function>
Function* function_of(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

void* open_driver() {
  return dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

CudaDriver ask_cuda_driver() {
  CudaDriver driver;
  void* library = open_driver();
  driver.installed = library != nullptr;
  if (!library) return driver;
  auto* init = function_of<int(unsigned)>(library, "cuInit");
  auto* version = function_of<int(int*)>(library, "cuDriverGetVersion");
  auto* count = function_of<int(int*)>(library, "cuDeviceGetCount");
  driver.init = init ? init(0) : kStubLibrary;
  if (version) version(&driver.version);
  if (driver.init == 0 && count) count(&driver.devices);
  return driver;
}

std::string driver_problem(const CudaDriver& driver) {
  const std::string or_cpu = ", or use --device cpu";
  if (!driver.installed) return "the NVIDIA driver (libcuda.so.1) is not installed; install it" + or_cpu;
  if (driver.init == kStubLibrary)
    return "libcuda.so.1 is the toolkit's stub, not the NVIDIA driver; install the driver, or take the stub's folder "
           "out "
           "of LD_LIBRARY_PATH" +
           or_cpu;
  const bool old = driver.version > 0 && driver.version < kCudaVersion;
  if (old || driver.init == kInsufficientDriver)
    return "the NVIDIA driver is too old: it supports CUDA " +
           (driver.version > 0 ? version_text(driver.version) : std::string("of an earlier version")) + ", and " +
           version_text(kCudaVersion) + " is needed; update the driver" + or_cpu;
  if (driver.init == kNoDevice || (driver.init == 0 && driver.devices < 1))
    return "the driver reports no CUDA device; check nvidia-smi and CUDA_VISIBLE_DEVICES" + or_cpu;
  if (driver.init != 0)
    return "the NVIDIA driver does not start (error " + std::to_string(driver.init) + "); check nvidia-smi" + or_cpu;
  return "";
}

int cuda_major(int index) {
  void* library = open_driver();
  if (!library) return 0;
  auto* init = function_of<int(unsigned)>(library, "cuInit");
  auto* get_device = function_of<int(int*, int)>(library, "cuDeviceGet");
  auto* get_attribute = function_of<int(int*, int, int)>(library, "cuDeviceGetAttribute");
  int device = 0, major = 0;
  if (!init || !get_device || !get_attribute || init(0) != 0 || get_device(&device, std::max(index, 0)) != 0 ||
      get_attribute(&major, kMajorAttribute, device) != 0)
    return 0;
  return major;
}

}  // namespace tessera
