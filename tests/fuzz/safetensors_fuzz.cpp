#include <ATen/ATen.h>

#include "tests/fuzz/fuzz_support.h"
#include "weights/safetensors.h"

/// A safetensors file: reads it and every byte of its tensors.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::Folder folder;
  const auto path = folder.write("input.safetensors", fuzz::text_of(data, size));
  fuzz::expect_value_or_error([&] {
    const TensorFile file = read_safetensors(path);
    uint64_t sum = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      const auto* bytes = static_cast<const uint8_t*>(tensor.const_data_ptr());
      for (size_t i = 0; i < tensor.nbytes(); ++i) sum += bytes[i];
    }
    volatile uint64_t read = sum;
    (void)read;
  });
  return 0;
}
