#pragma once

#include <c10/core/Allocator.h>

namespace stand_in {

/// The allocator of device memory, on the calling thread's device.
c10::Allocator& device_memory();

/// The host waits for all that was queued.
void drain();

}  // namespace stand_in
