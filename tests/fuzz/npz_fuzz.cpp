#include <ATen/ATen.h>

#include "tests/fuzz/fuzz_support.h"
#include "weights/npz.h"

/// The input as an .npz archive, and as the beginning of one .npy file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::Folder folder;
  fuzz::expect_value_or_error([&] { parse_npy_header({data, size}, "input.npy").data_bytes("input.npy"); });
  const auto path = folder.write("input.npz", fuzz::text_of(data, size));
  fuzz::expect_value_or_error([&] {
    const NpzFile file(path);
    (void)file.listing();
    for (const std::string& name : file.names()) {
      fuzz::expect_value_or_error([&] { (void)file.read(name); });
      fuzz::expect_value_or_error([&] { (void)file.text(name); });
      fuzz::expect_value_or_error([&] { NpzRows(file, name).next(2); });
    }
  });
  fuzz::expect_value_or_error([&] { (void)NpzFile(path).read("mu"); });
  return 0;
}
