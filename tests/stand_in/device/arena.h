#pragma once

#include <cstddef>
#include <cstdint>

// The memory of the stand-in's devices. An address of device memory cannot be read or written: host code that tries
// ends the process with kTouched and a backtrace. The same bytes lie at another address, kernel_view, which only the
// stand-in's kernels and copies use.
namespace stand_in {

constexpr int kMostDevices = 4;
constexpr int kTouched = 97;  ///< exit code of a process whose host code touched device memory

/// STAND_IN_DEVICES, 1 unless set.
int device_count();

/// The device that this thread allocates and runs on.
int current_device();
void set_current_device(int device);

/// `bytes` of a device, filled with ones (NaN as any floating dtype). Throws c10::OutOfMemoryError when the device
/// would hold more than STAND_IN_MEMORY bytes.
void* allocate(size_t bytes, int device);
void release(void* pointer);

/// Where kernels find a pointer's bytes: device memory at its second address, host memory where it is.
[[gnu::visibility("default")]] void* kernel_view(void* pointer);
[[gnu::visibility("default")]] bool is_device_memory(const void* pointer);

struct Usage {
  size_t live = 0, peak = 0, limit = 0;  ///< bytes; limit as STAND_IN_MEMORY has it
};
Usage usage(int device);
void reset_peak(int device);

/// Page-locked host memory, which copies may use while the host goes on.
void* allocate_pinned(size_t bytes);
void release_pinned(void* pointer);
bool is_pinned(const void* pointer);

}  // namespace stand_in
