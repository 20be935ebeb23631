// What the program says where CUDA cannot be used.
#include <gtest/gtest.h>

#include "tests/stand_in/support.h"

namespace tessera::test {
namespace {

std::string refusal(const std::string& device, const std::vector<std::string>& environment) {
  const ProcessResult result =
      on_stand_in({"generate", "a star", "--device", device, "-o", "x.png"}, environment).result;
  EXPECT_EQ(result.exit_code, 2) << result.err;
  return result.err;
}

TEST(StandInMessages, OneLineForEachCause) {
  EXPECT_EQ(refusal("cuda", {"STAND_IN_DRIVER=0"}),
            "tessera: --device cuda: libcuda.so.1 is the toolkit's stub, not the NVIDIA driver; install the driver, or "
            "take the stub's folder out of LD_LIBRARY_PATH, or use --device cpu\n");
  EXPECT_EQ(
      refusal("cuda", {"STAND_IN_DRIVER=12080"}),
      "tessera: --device cuda: the NVIDIA driver is too old: it supports CUDA 12.8, and 13.0 is needed; update the "
      "driver, or use --device cpu\n");
  EXPECT_EQ(
      refusal("cuda", {"STAND_IN_DEVICES=0"}),
      "tessera: --device cuda: the driver reports no CUDA device; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use "
      "--device cpu\n");
  EXPECT_EQ(refusal("cuda:2", {"STAND_IN_DEVICES=2"}),
            "tessera: --device cuda:2: found 2 CUDA devices, numbered from 0\n");
}

TEST(StandInMessages, Bfloat16NeedsAmpere) {
  const auto run = on_stand_in({"generate", "a star", "--device", "cuda", "--dtype", "bf16", "-o", "x.png"},
                               {"STAND_IN_CAPABILITY=75"});
  EXPECT_EQ(run.result.exit_code, 2);
  EXPECT_NE(
      run.result.err.find("--dtype bf16 needs a GPU of compute capability 8.0 or later; on this one use fp16 or fp32"),
      std::string::npos)
      << run.result.err;
}

}  // namespace
}  // namespace tessera::test
