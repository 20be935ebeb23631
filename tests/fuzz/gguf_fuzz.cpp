#include <ATen/ATen.h>

#include "kernels/packed.h"
#include "tests/fuzz/fuzz_support.h"
#include "weights/gguf.h"
#include "weights/names.h"

/// A GGUF file: reads it, every byte of its plain tensors and every number of its packed ones.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::Folder folder;
  const auto path = folder.write("input.gguf", fuzz::text_of(data, size));
  fuzz::expect_value_or_error([&] {
    const TensorFile file = read_gguf(path);
    uint64_t sum = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      const at::Tensor plain = packed_weight(tensor) ? unpacked(tensor, at::kFloat) : tensor;
      const auto* bytes = static_cast<const uint8_t*>(plain.const_data_ptr());
      for (size_t i = 0; i < plain.nbytes(); ++i) sum += bytes[i];
      if (const PackedWeight* packed = packed_weight(tensor)) sum += all_finite(*packed);
    }
    volatile uint64_t read = sum;
    (void)read;
    canonical_tensors(file, "UMT5EncoderModel");
    canonical_tensors(file, "WanTransformer3DModel");
  });
  return 0;
}
