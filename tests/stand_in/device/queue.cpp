#include "tests/stand_in/device/queue.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/stand_in/device/arena.h"

namespace stand_in {
namespace {

struct Copy {
  uint64_t mark;
  bool download;
  char* host;
  std::vector<char> bytes;  // as they were when the copy was queued
};

struct Queue {
  std::mutex mutex;
  uint64_t mark = 0, waited = 0;
  std::vector<Copy> copies;
};

Queue& queue() {
  static auto* const made = new Queue;
  return *made;
}

constexpr std::array<const char*, static_cast<size_t>(Count::kLast)> kNames = {
    "launches",     "uploads",       "upload_bytes",       "downloads",       "download_bytes", "drains",
    "waits",        "emptied",       "fp32_products",      "tf32_products",   "bf16_products",  "fp16_products",
    "convolutions", "channels_last", "tuned_convolutions", "unpinned_uploads"};

struct Report {
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Count::kLast)> counts = {};
  std::mutex mutex;
  std::map<std::string, uint64_t> kernels;

  ~Report() {
    const char* path = std::getenv("STAND_IN_REPORT");
    if (!path) return;
    nlohmann::ordered_json json;
    for (size_t i = 0; i < counts.size(); ++i) json[kNames[i]] = counts[i].load();
    for (int device = 0; device < device_count(); ++device) json["peak"].push_back(usage(device).peak);
    json["kernels"] = kernels;
    const std::string line = json.dump() + "\n";
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    [[maybe_unused]] const auto written = write(file, line.data(), line.size());
    close(file);
  }
} report;

void end(const Copy& copy) {
  if (copy.download) {
    std::memcpy(copy.host, copy.bytes.data(), copy.bytes.size());
    return;
  }
  TORCH_CHECK(std::memcmp(copy.host, copy.bytes.data(), copy.bytes.size()) == 0,
              "stand-in: pinned memory was written before its copy to the device had ended");
}

void queue_copy(bool download, void* host, const void* bytes, size_t size) {
  Queue& all = queue();
  const std::lock_guard lock(all.mutex);
  const char* from = static_cast<const char*>(bytes);
  all.copies.push_back({++all.mark, download, static_cast<char*>(host), {from, from + size}});
}

}  // namespace

uint64_t queued() {
  const std::lock_guard lock(queue().mutex);
  return ++queue().mark;
}

void download_later(void* to, const void* from, size_t bytes) {
  queue_copy(true, to, from, bytes);
  std::memset(to, 0xff, bytes);
}

void upload_later(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  queue_copy(false, const_cast<void*>(from), from, bytes);
}

void wait_for(uint64_t mark) {
  Queue& all = queue();
  const std::lock_guard lock(all.mutex);
  all.waited = std::max(all.waited, mark);
  const auto later =
      std::stable_partition(all.copies.begin(), all.copies.end(), [&](const Copy& copy) { return copy.mark > mark; });
  const std::vector<Copy> done(std::make_move_iterator(later), std::make_move_iterator(all.copies.end()));
  all.copies.erase(later, all.copies.end());
  for (const Copy& copy : done) end(copy);
}

bool has_waited(uint64_t mark) {
  const std::lock_guard lock(queue().mutex);
  return mark <= queue().waited;
}

void finish_copies_of(void* pinned) {
  Queue& all = queue();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.copies, [&](const Copy& copy) { return copy.host == pinned; });
}

void count(Count what, uint64_t by) {
  report.counts[static_cast<size_t>(what)] += by;
}

void count_kernel(const std::string& name) {
  count(Count::kLaunches);
  const std::lock_guard lock(report.mutex);
  ++report.kernels[name];
}

}  // namespace stand_in
