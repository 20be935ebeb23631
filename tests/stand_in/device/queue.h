#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

// What a device is asked, in order. Kernels run at once; copies that the host need not wait for reach host memory only
// when the host waits, and until then it holds rubbish, as it may on a GPU.
namespace stand_in {

/// How far a device's work has been queued: later work has a higher number.
uint64_t queued();

/// Queues a copy of `bytes` from kernel memory to pinned host memory: `to` is filled with ones and gets the bytes as
/// they are now when the host waits for this or later work.
void download_later(void* to, const void* from, size_t bytes);
/// Queues a copy from pinned memory: the bytes arrive at once, and the host must leave `from` as it is until it waits.
void upload_later(void* to, const void* from, size_t bytes);
/// The host waits for all work up to `mark`. Throws c10::Error when the source of a copy has changed meanwhile.
void wait_for(uint64_t mark);
/// Whether the host has waited for `mark`.
bool has_waited(uint64_t mark);
/// Copies to or from this pinned memory end here: it is being freed, which the allocator puts off until they have.
void finish_copies_of(void* pinned);

/// What a run did, for STAND_IN_REPORT: a file that gets one line of JSON when the process ends.
enum class Count {
  kLaunches,           ///< kernels
  kUploads,            ///< copies from host to device
  kUploadBytes,        //
  kDownloads,          ///< copies from device to host
  kDownloadBytes,      //
  kDrains,             ///< times the host waited for everything queued so far
  kWaits,              ///< times it waited for an event that had not been reached
  kEmptied,            ///< calls of emptyCache
  kFloatProducts,      ///< products and convolutions of float32 numbers ...
  kTf32Products,       ///< ... of which TF32 was allowed
  kBfloatProducts,     ///< of bfloat16
  kHalfProducts,       ///< of float16
  kConvolutions,       ///< all, and those ...
  kChannelsLast,       ///< ... whose input has its channels last
  kTunedConvolutions,  ///< ... for which cuDNN may try its algorithms
  kUploadsUnpinned,    ///< uploads from pageable memory
  kLast
};
void count(Count what, uint64_t by = 1);
[[gnu::visibility("default")]] void count_kernel(const std::string& name);

}  // namespace stand_in
