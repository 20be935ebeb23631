#include "core/out_of_memory.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

namespace tessera {
namespace {

TEST(OutOfMemory, SaysWhatWasAskedFor) {
  const std::runtime_error cpu(
      "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
      "6710886400000 bytes. Error code 12 (Cannot allocate memory)");
  EXPECT_EQ(out_of_memory_text(cpu, "try less"), "out of memory: 6.7 TB more was needed; try less");
  const std::runtime_error newer("DefaultCPUAllocator: not enough memory: you tried to allocate 999 bytes.");
  EXPECT_EQ(out_of_memory_text(newer, "try less"), "out of memory: 999 bytes more was needed; try less");
  const std::runtime_error cuda(
      "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.2 GiB is "
      "free");
  EXPECT_EQ(out_of_memory_text(cuda, "try less"), "out of memory: 2.50 GiB more was needed; try less");
}

TEST(OutOfMemory, WithoutASizeItSaysWhatTheProgramHeld) {
  const std::string text = out_of_memory_text(std::bad_alloc(), "try less").value_or("");
  EXPECT_EQ(text.rfind("out of memory: the program already held ", 0), 0u) << text;
  EXPECT_TRUE(text.ends_with("MB; try less") || text.ends_with("GB; try less")) << text;
  EXPECT_NE(out_of_memory_text(std::runtime_error("CUDA out of memory. Tried to allocate"), "x"), std::nullopt);
}

TEST(OutOfMemory, OtherFailuresAreNot) {
  EXPECT_EQ(out_of_memory_text(std::runtime_error("the disk is full"), "x"), std::nullopt);
}

}  // namespace
}  // namespace tessera
