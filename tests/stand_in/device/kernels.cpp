// libtessera_cuda.so for the stand-in device: the kernels of kernels/cuda under the emulator of tests/support/cuda. A
// pointer that is not to device memory is an error, as on a GPU, where it would end the process.
#include <c10/util/Exception.h>

#include <string>

#include "kernels/cuda/launch.h"
#include "tests/stand_in/device/arena.h"
#include "tests/stand_in/device/queue.h"
#include "tests/support/cuda/fibers.h"

namespace tessera::cuda {

// As in kernels/cuda/kernels.cuh, which includes CUDA's headers.
int features(const Features&, void*);
int ungroup(const Ungroup&, void*);
int adaptive_norm(const AdaptiveNorm&, void*);
int depthwise(const Depthwise&, void*);
int key_sums(const KeySums&, void*);
int products(const Products&, void*);
int unpack(const Unpack&, void*);

namespace {

template <typename T>
void enter(T*& pointer) {
  if (pointer == nullptr) return;
  TORCH_CHECK(stand_in::is_device_memory(pointer), "stand-in: a kernel was given host memory");
  pointer = static_cast<T*>(stand_in::kernel_view(const_cast<void*>(static_cast<const void*>(pointer))));
}

/// Runs a kernel on a copy of its arguments whose `pointers` are those that kernels see.
template <auto kKernel, auto... kPointers, typename Arguments>
int launched(const char* name, Arguments arguments, void* stream) {
  (enter(arguments.*kPointers), ...);
  stand_in::count_kernel(std::string("tessera::") + name);
  return kKernel(arguments, stream);
}

constexpr Kernels kKernels = {
    .version = kVersion,
    .error_text = [](int) { return test::emulator::failure().c_str(); },
    .features =
        [](const Features& f, void* stream) {
          return launched<features, &Features::x, &Features::weight, &Features::cosines, &Features::sines, &Features::y,
                          &Features::unrotated>("features", f, stream);
        },
    .ungroup =
        [](const Ungroup& u, void* stream) {
          return launched<ungroup, &Ungroup::x, &Ungroup::normalizer, &Ungroup::weight, &Ungroup::gate, &Ungroup::y>(
              "ungroup", u, stream);
        },
    .adaptive_norm =
        [](const AdaptiveNorm& n, void* stream) {
          return launched<adaptive_norm, &AdaptiveNorm::x, &AdaptiveNorm::update, &AdaptiveNorm::gate,
                          &AdaptiveNorm::scale, &AdaptiveNorm::shift, &AdaptiveNorm::h, &AdaptiveNorm::y>(
              "adaptive_norm", n, stream);
        },
    .depthwise =
        [](const Depthwise& d, void* stream) {
          return launched<depthwise, &Depthwise::x, &Depthwise::base, &Depthwise::weight, &Depthwise::bias,
                          &Depthwise::y>("depthwise", d, stream);
        },
    .key_sums = [](const KeySums& k,
                   void* stream) { return launched<key_sums, &KeySums::k, &KeySums::z>("key_sums", k, stream); },
    .products =
        [](const Products& p, void* stream) {
          return launched<products, &Products::q, &Products::z, &Products::n>("products", p, stream);
        },
    .unpack =
        [](const Unpack& u, void* stream) {
          return launched<unpack, &Unpack::bytes, &Unpack::scales, &Unpack::y>("unpack", u, stream);
        },
};

}  // namespace
}  // namespace tessera::cuda

extern "C" __attribute__((visibility("default"))) const tessera::cuda::Kernels* tessera_cuda_kernels() {
  return &tessera::cuda::kKernels;
}
