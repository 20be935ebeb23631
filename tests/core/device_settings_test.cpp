#include "core/device_settings.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <set>

namespace tessera {
namespace {

TEST(AttentionOrder, ByCapability) {
  using Order = std::vector<int64_t>;  // math 0, flash 1, efficient 2, cuDNN 3, another 4
  EXPECT_EQ(attention_order(7), (Order{2, 1, 3, 0, 4}));
  EXPECT_EQ(attention_order(0), attention_order(7));
  EXPECT_EQ(attention_order(8), (Order{1, 2, 3, 0, 4}));
  EXPECT_EQ(attention_order(9), (Order{3, 1, 2, 0, 4}));
  EXPECT_EQ(attention_order(12), attention_order(9));
}

TEST(NetworkDtypes, Umt5IsNeverInHalfPrecision) {
  EXPECT_EQ(text_encoder_dtype("fp16", true), "bf16");
  EXPECT_EQ(text_encoder_dtype("fp16", false), "fp32");
  EXPECT_EQ(text_encoder_dtype("half", false), "fp32");
  for (const char* name : {"auto", "bf16", "fp32", "int8"}) EXPECT_EQ(text_encoder_dtype(name, false), name);
}

TEST(NetworkDtypes, TheAutoencoderIsExactOnACpuOnly) {
  EXPECT_EQ(autoencoder_dtype("auto", at::kCPU), "fp32");
  EXPECT_EQ(autoencoder_dtype("auto", at::Device(at::kCUDA, 0)), "auto");
  EXPECT_EQ(autoencoder_dtype("bf16", at::kCPU), "bf16");
}

/// The switches are the process's: in the order of a run.
TEST(Tf32, OnOnlyBesideNetworksThatHaveFewerDigits) {
  const at::Context& context = at::globalContext();
  const auto tf32 = [&] {
    std::set<bool> found;
    for (const at::Float32Op op : {at::Float32Op::MATMUL, at::Float32Op::CONV})
      found.insert(context.float32Precision(at::Float32Backend::CUDA, op) == at::Float32Precision::TF32);
    return found;
  };
  apply_gpu_settings(8);
  EXPECT_EQ(tf32(), std::set<bool>{false}) << "cuDNN's is on by default";
  EXPECT_TRUE(context.benchmarkCuDNN());
  note_network_dtype(at::kBFloat16);
  EXPECT_EQ(tf32(), std::set<bool>{true});
  note_network_dtype(at::kHalf);
  EXPECT_EQ(tf32(), std::set<bool>{true});
  note_network_dtype(at::kFloat);
  EXPECT_EQ(tf32(), std::set<bool>{false});
  require_exact_products();
  note_network_dtype(at::kBFloat16);
  EXPECT_EQ(tf32(), std::set<bool>{false});
  EXPECT_FALSE(context.benchmarkCuDNN());
}

}  // namespace
}  // namespace tessera
