#pragma once

#include "kernels/cuda/values.cuh"

// What the .cu files hold, gathered into a table by plugin.cu. kernels/cuda/launch.h says what each does.
namespace tessera::cuda {

int features(const Features& f, void* stream);
int ungroup(const Ungroup& u, void* stream);
int adaptive_norm(const AdaptiveNorm& a, void* stream);
int depthwise(const Depthwise& d, void* stream);
int key_sums(const KeySums& k, void* stream);
int products(const Products& p, void* stream);
int unpack(const Unpack& u, void* stream);

}  // namespace tessera::cuda
