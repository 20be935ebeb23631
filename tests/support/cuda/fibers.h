#pragma once

#include <cstdint>
#include <functional>
#include <string>

// CUDA threads as fibers of one CPU thread. What it finds: barriers and shuffles that not all threads of a block or
// warp reach, or reach at different places; and, by results that depend on the order, missing barriers. Blocks run one
// after the other, so nothing is found out about races between blocks.
namespace tessera::test::emulator {

/// Where in the source a barrier or shuffle stands.
struct Site {
  const char* file;
  unsigned line;
  bool operator==(const Site&) const = default;
};

struct Size {
  unsigned blocks, threads;  ///< threads of a block
};

/// The order of blocks and threads in launches from now on: 0 ascending, 1 descending, else shuffled from this seed.
void set_order(unsigned seed);

/// Calls body once for each thread of each block, with place(block, thread) before it goes on. False when a block is
/// stuck: failure() then says why.
bool run(Size size, const std::function<void(unsigned, unsigned)>& place, const std::function<void()>& body);
const std::string& failure();

/// In a kernel: waits for all threads of the block.
void block_barrier(const Site& site);

/// In a kernel: waits for the lanes of `mask`, then gives the bits that lane `source` brought.
uint64_t exchange(unsigned mask, uint64_t bits, int source, const Site& site);

}  // namespace tessera::test::emulator
