#include "bench/serve.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

#include <cstdio>
#include <ctime>
#include <iostream>

#include "core/clock.h"
#include "core/device.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

/// Processor seconds of all threads of this process.
double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

nlohmann::json timed_run(const Service& service, const std::string& name, at::Tensor& result) {
  const at::Device device = service.device;
  c10::DeviceAllocator* allocator = device.is_cpu() ? nullptr : c10::getDeviceAllocator(device.type());
  result.reset();
  synchronize(device);
  constexpr auto kAllPools = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto bytes = [&] { return allocator->getDeviceStats(device.index()).allocated_bytes[kAllPools]; };
  if (allocator) allocator->resetPeakStats(device.index());
  const int64_t bytes_before = allocator ? bytes().current : 0;
  const double cpu_before = cpu_seconds();
  const Stopwatch watch;
  double launched = 0, seconds = 0;
  int64_t runs = 0;
  do {
    const double start = watch.seconds();
    result = service.run(name);
    launched += watch.seconds() - start;
    synchronize(device);
    seconds = watch.seconds();
    ++runs;
  } while (seconds < service.least_seconds);
  const auto mean = [runs](double sum) { return sum / static_cast<double>(runs); };
  nlohmann::json found = {{"seconds", mean(seconds)}, {"cpu_seconds", mean(cpu_seconds() - cpu_before)}};
  if (allocator) {
    found["launch_seconds"] = mean(launched);
    found["activation_bytes"] = bytes().peak - bytes_before;
  }
  return found;
}

nlohmann::json respond(const Service& service, const std::string& line, at::Tensor& result) {
  if (line.rfind("save ", 0) != 0) return timed_run(service, line.size() > 4 ? line.substr(4) : "", result);
  write_safetensors(line.substr(5), {{"result", result.to(at::kFloat)}});
  return {{"saved", true}};
}

std::string message_of(const std::exception& error) {
  const auto* broken = dynamic_cast<const c10::Error*>(&error);
  return broken ? broken->what_without_backtrace() : error.what();
}

}  // namespace

void answer(const nlohmann::json& object) {
  std::cout << object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
}

void serve(const Service& service) {
  if (!service.device.is_cpu()) at::empty({1}, service.device);  // its allocator counts from the first tensor on
  answer({{"ready", true}});
  at::Tensor result;
  for (std::string line; std::getline(std::cin, line) && line != "quit";) {
    try {
      answer(respond(service, line, result));
    } catch (const std::exception& error) {
      answer({{"error", message_of(error)}});
    }
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  answer({{"peak_bytes", int64_t{usage.ru_maxrss} * 1024}});
}

int run_program(const char* name, const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", name, message_of(error).c_str());
    return 1;
  }
  return 0;
}

}  // namespace tessera
