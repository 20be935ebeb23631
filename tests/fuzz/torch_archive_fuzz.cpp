#include <ATen/ATen.h>

#include "tests/fuzz/fuzz_support.h"
#include "tests/weights/archive_support.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

/// Reads the first and last element of a tensor, and all of a small one.
void touch(const at::Tensor& tensor) {
  constexpr int64_t kSmall = 4096;
  if (tensor.numel() == 0) return;
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); ++i) last += (tensor.size(i) - 1) * tensor.stride(i);
  const auto* bytes = static_cast<const uint8_t*>(tensor.const_data_ptr());
  volatile uint8_t read = bytes[0];
  read = bytes[(last + 1) * static_cast<int64_t>(tensor.element_size()) - 1];
  (void)read;
  if (tensor.numel() <= kSmall) (void)tensor.contiguous();
}

void visit(const ArchiveValue& value) {
  (void)value.description();
  if (value.tensor()) return touch(*value.tensor());
  if (const auto* items = value.items())
    for (const auto& item : *items) visit(item);
  if (const auto* entries = value.entries())
    for (const auto& [key, entry] : *entries) {
      visit(key);
      visit(entry);
    }
}

}  // namespace
}  // namespace tessera

/// A file of torch.save; input that begins as a pickle (0x80) is put into an archive with two storages, so that the
/// fuzzer need not keep a zip archive whole.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::Folder folder;
  std::string bytes(fuzz::text_of(data, size));
  const bool legacy = size > 2 && data[2] == 0x8a;
  if (size > 0 && data[0] == 0x80 && !legacy)
    bytes = test::archive_bytes(bytes, {{"0", std::string(64, '\1')}, {"1", std::string(3, '\1')}});
  const auto path = folder.write("input.pt", bytes);
  fuzz::expect_value_or_error([&] {
    const TorchArchive archive = load_torch_archive(path);
    visit(archive.root);
    tensors_of(archive);
  });
  fuzz::expect_value_or_error([&] { read_torch_archive(path); });
  return 0;
}
