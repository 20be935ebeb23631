#include "kernels/cuda/kernels.cuh"

namespace tessera::cuda {
namespace {

constexpr int kRows = 8;  // places that a block of threads sums at a time, a warp each
constexpr int kThreads = kWarp * kRows;

/// A block of threads for kWarp channels of a group: warps take places in turn, then the first adds what they have.
__global__ void __launch_bounds__(kThreads) key_sums_kernel(const KeySums k) {
  __shared__ float parts[kRows][kWarp];
  const int32_t D = k.head_dim, slices = (D + kWarp - 1) / kWarp;
  const int64_t group = blockIdx.x / slices;
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarp), warp = static_cast<int32_t>(threadIdx.x / kWarp);
  const int32_t d = static_cast<int32_t>(blockIdx.x % slices) * kWarp + lane;
  float sum = 0;
  if (d < D)
    for (int32_t place = warp; place < k.places; place += kRows) sum += k.k[(group * k.places + place) * D + d];
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || d >= D) return;
  for (int row = 1; row < kRows; ++row) sum += parts[row][lane];
  k.z[group * D + d] = sum;
}

/// A block of threads for each group: warps take places in turn.
__global__ void __launch_bounds__(kThreads) products_kernel(const Products p) {
  const int64_t group = blockIdx.x;
  const int32_t D = p.head_dim, block = static_cast<int32_t>(group / p.groups_of_block);
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarp), warp = static_cast<int32_t>(threadIdx.x / kWarp);
  const float* z = p.z + group * D;
  float total = 0, count = 0;  // of places within the grid, by the warp's first lane
  for (int32_t place = warp; place < p.places; place += kRows) {
    if (p.fill && token_at(p.cut, block, place) < 0) continue;
    const float* q = p.q + (group * p.places + place) * D;
    float sum = 0;
    for (int32_t d = lane; d < D; d += kWarp) sum += q[d] * z[d];
    sum = warp_sum(sum);
    if (lane > 0) continue;
    total += sum;
    count += 1;
    p.n[group * p.places + place] = sum + p.eps;
  }
  if (!p.fill) return;
  total = block_sum(total);
  const float mean = total / block_sum(count);
  for (auto place = static_cast<int32_t>(threadIdx.x); place < p.places; place += kThreads)
    if (token_at(p.cut, block, place) < 0) p.n[group * p.places + place] = mean + p.eps;
}

}  // namespace

int key_sums(const KeySums& k, void* stream) {
  return launch(&key_sums_kernel, k.groups * ((k.head_dim + kWarp - 1) / kWarp), kThreads, stream, k);
}

int products(const Products& p, void* stream) {
  return launch(&products_kernel, p.groups, kThreads, stream, p);
}

}  // namespace tessera::cuda
