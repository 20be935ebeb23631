// Plays libcuda.so.1: what the program asks the driver itself. STAND_IN_DRIVER is its version (13000 unless set), 0 for
// a library that is there without a driver; STAND_IN_CAPABILITY the devices' compute capability (80 unless set).
#include <cstdlib>

namespace {

constexpr int kNoDriver = 34;  // CUDA_ERROR_STUB_LIBRARY
constexpr int kNoDevice = 100, kNotThere = 101;
constexpr int kMajor = 75, kMinor = 76;

int number_in(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoi(text) : otherwise;
}

int devices() {
  return number_in("STAND_IN_DEVICES", 1);
}

}  // namespace

#define STAND_IN_EXPORT extern "C" __attribute__((visibility("default")))

STAND_IN_EXPORT int cuInit(unsigned) {
  if (number_in("STAND_IN_DRIVER", 13000) == 0) return kNoDriver;
  return devices() > 0 ? 0 : kNoDevice;
}

STAND_IN_EXPORT int cuDriverGetVersion(int* version) {
  *version = number_in("STAND_IN_DRIVER", 13000);
  return 0;
}

STAND_IN_EXPORT int cuDeviceGetCount(int* count) {
  *count = devices();
  return 0;
}

STAND_IN_EXPORT int cuDeviceGet(int* device, int index) {
  *device = index;
  return index < devices() ? 0 : kNotThere;
}

STAND_IN_EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
  const int capability = number_in("STAND_IN_CAPABILITY", 80);
  *value = attribute == kMajor ? capability / 10 : attribute == kMinor ? capability % 10 : 0;
  return 0;
}
