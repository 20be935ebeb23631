#include "core/device.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/job.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

std::string device_error(const std::string& name) {
  try {
    open_device(name);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Device, CpuIsThereAndNonsenseIsNot) {
  EXPECT_EQ(open_device("cpu"), at::Device(at::kCPU));
  EXPECT_EQ(device_error("cuba"), "--device: unknown device \"cuba\" (did you mean cuda?)");
  EXPECT_EQ(device_error("cuda:x"), "--device cuda:x: want cpu, cuda, cuda:N with N from 0 to 127, or auto");
  EXPECT_EQ(device_error("cuda:-1"), "--device cuda:-1: want cpu, cuda, cuda:N with N from 0 to 127, or auto");
}

TEST(Device, GpuMeansCuda) {
  const std::string cuda = device_error("cuda"), gpu = device_error("gpu");
  EXPECT_EQ(gpu, cuda == "no error" ? cuda : "--device gpu" + cuda.substr(std::string("--device cuda").size()));
  EXPECT_EQ(device_error("gpu:x"), "--device cuda:x: want cpu, cuda, cuda:N with N from 0 to 127, or auto");
  EXPECT_EQ(device_error("gpus"), "--device: unknown device \"gpus\" (did you mean gpu?)");
}

TEST(Device, AutoAgreesWithWhatCudaSays) {
  const bool has_cuda = device_error("cuda") == "no error";
  EXPECT_EQ(open_device("auto").is_cuda(), has_cuda) << device_error("cuda");
  if (!has_cuda) {
    EXPECT_EQ(device_error("cuda").rfind("--device cuda: ", 0), 0u) << device_error("cuda");
  }
}

TEST(Dtype, EverySpellingIsAccepted) {
  const at::Device gpu(at::kCUDA, 0);
  const std::vector<std::pair<std::string, at::ScalarType>> spellings = {
      {"fp32", at::kFloat},        {"float32", at::kFloat}, {"float", at::kFloat},  {"bf16", at::kBFloat16},
      {"bfloat16", at::kBFloat16}, {"fp16", at::kHalf},     {"float16", at::kHalf}, {"half", at::kHalf}};
  for (const auto& [name, dtype] : spellings) {
    EXPECT_EQ(choose_dtype(name, gpu, at::kFloat, 1), dtype) << name;
    Job job;
    set_job_option(job, find_job_option("dtype"), name);
    EXPECT_EQ(job.dtype, dtype_name(dtype)) << name;  // recipes and hashes have one spelling
  }
  EXPECT_EQ(dtype_name(at::kLong), "Long");
  EXPECT_EQ(long_dtype_name(at::kFloat), "float32");
  EXPECT_EQ(long_dtype_name(at::kBFloat16), "bfloat16");
  EXPECT_EQ(long_dtype_name(at::kHalf), "float16");
}

TEST(Dtype, NamesAreExact) {
  EXPECT_EQ(choose_dtype("fp32", at::kCPU, at::kBFloat16, 1), at::kFloat);
  EXPECT_EQ(choose_dtype("bf16", at::kCPU, at::kFloat, 1), at::kBFloat16);
  EXPECT_EQ(choose_dtype("fp16", at::Device(at::kCUDA, 0), at::kFloat, 1), at::kHalf);
  EXPECT_THROW(choose_dtype("fp16", at::kCPU, at::kFloat, 1), Error);
  EXPECT_THROW(choose_dtype("fp8", at::kCPU, at::kFloat, 1), Error);
}

TEST(ChoosePrecision, Int8IsForNetworksOnTheCpu) {
  const auto beside = has_fast_bfloat16(at::kCPU) ? at::kBFloat16 : at::kFloat;
  const Precision int8 = choose_precision("int8", at::kCPU, at::kFloat, 1);
  EXPECT_TRUE(int8.int8);
  EXPECT_EQ(int8.dtype, beside);
  EXPECT_FALSE(choose_precision("bf16", at::kCPU, at::kFloat, 1).int8);
  EXPECT_ERROR(choose_precision("int8", at::Device(at::kCUDA, 0), at::kFloat, 1), "--dtype int8", "CPU only");
  EXPECT_THROW(choose_dtype("int8", at::kCPU, at::kFloat, 1), Error);  // networks without such products
}

TEST(Dtype, AutoKeepsSmallFloatModelsExact) {
  EXPECT_EQ(auto_dtype(true, at::kFloat, 1'000'000), at::kFloat);
  EXPECT_EQ(auto_dtype(true, at::kFloat, 1'300'000'000), at::kBFloat16);
  EXPECT_EQ(auto_dtype(true, at::kBFloat16, 1'000'000), at::kBFloat16);
  const at::ScalarType on_cpu = has_fast_bfloat16(at::kCPU) ? at::kBFloat16 : at::kFloat;
  EXPECT_EQ(choose_dtype("auto", at::kCPU, at::kHalf, 1'000'000), on_cpu);
}

TEST(Dtype, GpusBeforeAmpereComputeInFloat32) {
  for (const int major : {0, 5, 6, 7}) EXPECT_FALSE(has_fast_bfloat16(at::kCUDA, major)) << major;
  for (const int major : {8, 9, 10, 12}) EXPECT_TRUE(has_fast_bfloat16(at::kCUDA, major)) << major;
  EXPECT_FALSE(has_fast_bfloat16(at::kMeta, 8));
  EXPECT_EQ(auto_dtype(false, at::kBFloat16, 1'300'000'000), at::kFloat);
  EXPECT_EQ(auto_dtype(false, at::kHalf, 1'300'000'000), at::kFloat);
}

}  // namespace
}  // namespace tessera
