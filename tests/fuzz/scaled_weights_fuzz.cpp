#include <ATen/ATen.h>

#include "kernels/packed.h"
#include "tests/fuzz/fuzz_support.h"
#include "weights/safetensors.h"
#include "weights/scaled_weights.h"

/// A safetensors file with scales and what says how layers are quantized: reads it and every number of packed weights.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::Folder folder;
  const auto path = folder.write("input.safetensors", fuzz::text_of(data, size));
  fuzz::expect_value_or_error([&] {
    const TensorFile file = with_scales(read_safetensors(path));
    lost_scales(file);
    for (const auto& [name, tensor] : file.tensors()) {
      if (!packed_weight(tensor)) continue;
      unpacked(tensor, at::kFloat);
      all_finite(*packed_weight(tensor));
    }
  });
  return 0;
}
