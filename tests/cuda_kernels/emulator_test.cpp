#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kernels/device_kernels.h"
#include "tests/support/cuda/cuda_fp16.h"
#include "tests/support/cuda/cuda_runtime.h"
#include "tests/support/emulated_kernels.h"

// What the emulator is for: each fault below is one that a kernel may have.
namespace tessera {
namespace {

using test::emulator::failure;
using test::emulator::set_order;

enum class Fault { kNone, kNoBarrier, kOneWarpOnly, kTwoBarriers, kReturnsEarly, kHalfWarp };

struct Sums {
  Fault fault;
  const float* x;
  float* y;  ///< two sums of all threads' numbers, [2, blocks]
};

__device__ float sum_of_block(float v, Fault fault) {
  __shared__ float parts[2];
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  const float sum = parts[0] + parts[1];
  if (fault != Fault::kNoBarrier) __syncthreads();
  return sum;
}

__global__ void sums_kernel(const Sums s) {
  const bool second_warp = threadIdx.x >= 32;
  if (s.fault == Fault::kReturnsEarly && threadIdx.x == 63) return;
  if (s.fault == Fault::kOneWarpOnly && second_warp) __syncthreads();
  if (s.fault == Fault::kTwoBarriers) {
    if (second_warp)
      __syncthreads();
    else
      __syncthreads();
  }
  if (s.fault == Fault::kHalfWarp && threadIdx.x % 32 < 16) __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  const float v = s.x[blockIdx.x * 64 + threadIdx.x];
  const float first = sum_of_block(v, s.fault), second = sum_of_block(2 * v, s.fault);
  if (threadIdx.x == 5) {
    s.y[blockIdx.x] = first;
    s.y[gridDim.x + blockIdx.x] = second;
  }
}

constexpr unsigned kBlocks = 3;

cudaError_t run_sums(Fault fault, std::vector<float>& y) {
  std::vector<float> x(64 * kBlocks);
  std::iota(x.begin(), x.end(), 0.0f);
  y.assign(2 * kBlocks, -1.0f);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kBlocks);
  config.blockDim = dim3(64);
  return cudaLaunchKernelEx(&config, &sums_kernel, Sums{fault, x.data(), y.data()});
}

const std::vector<float> kSums = {2016, 6112, 10208, 4032, 12224, 20416};

TEST(Emulator, RunsEveryThreadInAnyOrder) {
  for (const unsigned order : {0U, 1U, 2U, 3U, 4U}) {
    set_order(order);
    std::vector<float> y;
    EXPECT_EQ(run_sums(Fault::kNone, y), cudaSuccess) << failure();
    EXPECT_EQ(y, kSums);
  }
}

TEST(Emulator, AMissingBarrierGivesAnotherResultInSomeOrder) {
  int wrong = 0;
  for (const unsigned order : {0U, 1U, 2U, 3U, 4U}) {
    set_order(order);
    std::vector<float> y;
    EXPECT_EQ(run_sums(Fault::kNoBarrier, y), cudaSuccess);
    wrong += y != kSums;
  }
  EXPECT_GT(wrong, 0);
}

TEST(Emulator, ABarrierThatNotAllReachIsAnError) {
  set_order(0);
  std::vector<float> y;
  EXPECT_EQ(run_sums(Fault::kOneWarpOnly, y), cudaErrorLaunchFailure);
  EXPECT_NE(failure().find("wait at different barriers, emulator_test.cpp:"), std::string::npos) << failure();
  EXPECT_EQ(run_sums(Fault::kTwoBarriers, y), cudaErrorLaunchFailure);
  EXPECT_NE(failure().find("different barriers"), std::string::npos) << failure();
  EXPECT_EQ(cudaGetErrorString(cudaErrorLaunchFailure), failure());
}

TEST(Emulator, AShuffleThatNotAllLanesReachIsAnError) {
  set_order(0);
  std::vector<float> y;
  EXPECT_EQ(run_sums(Fault::kReturnsEarly, y), cudaErrorLaunchFailure);
  EXPECT_NE(failure().find("waits for lane 31, which does not take part"), std::string::npos) << failure();
  EXPECT_EQ(run_sums(Fault::kHalfWarp, y), cudaErrorLaunchFailure);
  EXPECT_NE(failure().find("threads that never come"), std::string::npos) << failure();
  EXPECT_EQ(run_sums(Fault::kNone, y), cudaSuccess) << failure();  // nothing of it stays
  EXPECT_EQ(y, kSums);
}

TEST(Emulator, Float16IsRoundedLikeTheLibrarys) {
  for (int code = 0; code < 0x10000; ++code) {
    const auto bits = static_cast<unsigned short>(code);
    const c10::Half half(bits, c10::Half::from_bits());
    const float value = __half2float(__ushort_as_half(bits));
    if (std::isnan(static_cast<float>(half))) {
      EXPECT_TRUE(std::isnan(value));
      continue;
    }
    ASSERT_EQ(value, static_cast<float>(half)) << code;
    for (const float near :
         {value, std::nextafter(value, 1e9f), value * 1.0004f, value * 1.00048828125f, value + 3e-8f})
      ASSERT_EQ(__float2half(near).bits, c10::Half(near).x) << code << " " << near;
  }
}

/// Beyond the end of a tensor, by one number.
void write_beyond(int64_t numbers) {
  const test::GuardedMemory guarded;
  const at::Tensor x = at::zeros({numbers}), y = at::zeros({numbers});
  cudaLaunchConfig_t config = {};
  config.blockDim = dim3(static_cast<unsigned>(numbers + 1));
  struct Copy {
    const float* x;
    float* y;
  };
  const auto copy = [](const Copy c) { c.y[threadIdx.x] = c.x[threadIdx.x] == 0.0f ? 1.0f : 2.0f; };
  const auto* from = x.const_data_ptr<float>();
  cudaLaunchKernelEx(&config, static_cast<void (*)(Copy)>(copy), Copy{from, y.mutable_data_ptr<float>()});
}

TEST(EmulatorDeathTest, AnAccessBeyondATensorEndsTheProgram) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(write_beyond(64), "");
}

TEST(Emulator, AWriteIntoTheLastBytesIsReported) {
  EXPECT_NONFATAL_FAILURE(write_beyond(61), "written beyond the end");
}

}  // namespace
}  // namespace tessera
