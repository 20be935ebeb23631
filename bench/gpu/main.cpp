// What bench/gpu/run measures: parity of the networks with their fixtures, and forward passes with random weights.
// Usage: bench_gpu parity DEVICE              one line of JSON: versions, settings of LibTorch, figures
//        bench_gpu serve DEVICE PLAN.json THREADS SECONDS      "run PART" of the plan, see bench/serve.h; SECONDS:
//        least of a run
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <cstdio>

#include "bench/gpu/networks.h"
#include "bench/gpu/parity.h"
#include "bench/serve.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/version.h"

namespace tessera {
namespace {

/// What LibTorch may do with float32, and how it picks kernels.
nlohmann::json settings() {
  const at::Context& context = at::globalContext();
  return {{"tf32_products", context.allowTF32CuBLAS()},
          {"tf32_convolutions", context.allowTF32CuDNN()},
          {"cudnn_benchmark", context.benchmarkCuDNN()},
          {"flash_attention", context.userEnabledFlashSDP()},
          {"cudnn_attention", context.userEnabledCuDNNSDP()}};
}

void report_parity(at::Device device) {
  nlohmann::json figures = nlohmann::json::array();
  for (const ParityFigure& figure : measure_parity(device)) {
    const bool within = figure.error <= figure.bound;
    nlohmann::json row = {{"fixture", figure.fixture}, {"dtype", dtype_name(figure.dtype)}, {"bound", figure.bound}};
    row["error"] = std::isfinite(figure.error) ? nlohmann::json(figure.error) : nlohmann::json();
    row["within"] = within;
    figures.push_back(std::move(row));
  }
  nlohmann::json found = {{"tessera", program_version()}, {"device", device.str()}, {"parity", figures}};
  found["settings"] = settings();
  if (!device.is_cpu())
    found["memory_bytes"] = c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).second;
  answer(found);
}

void serve_plan(at::Device device, char** rest) {
  at::set_num_threads(std::stoi(rest[1]));
  BenchNetworks networks(JsonConfig::read(rest[0]), device, at::kBFloat16);
  serve({.run = [&](const std::string& name) { return networks.run(name); },
         .device = device,
         .least_seconds = std::stod(rest[2])});
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  setenv("MKL_CBWR", "AUTO,STRICT", 0);  // as the program does
  const std::string command = argc > 1 ? argv[1] : "";
  if (!(command == "parity" && argc == 3) && !(command == "serve" && argc == 6)) {
    std::fprintf(stderr, "usage: bench_gpu parity DEVICE | bench_gpu serve DEVICE PLAN.json THREADS SECONDS\n");
    return 2;
  }
  return tessera::run_program("bench_gpu", [&] {
    const at::Device device = tessera::open_device(argv[2]);
    const c10::InferenceMode inference;
    command == "parity" ? tessera::report_parity(device) : tessera::serve_plan(device, argv + 3);
  });
}
