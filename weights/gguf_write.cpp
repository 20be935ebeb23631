#include "weights/gguf_write.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "core/atomic_file.h"
#include "weights/gguf_types.h"

namespace tessera {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint32_t kQuantizationVersion = 2;  // of ggml's block layouts

template <typename Number>
void put(std::string& out, Number number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

void put_text(std::string& out, const std::string& text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void put_key(std::string& out, const std::string& key, GgufValue kind) {
  put_text(out, key);
  put(out, static_cast<uint32_t>(kind));
}

const GgufType& type_of(const GgufTensor& tensor) {
  const auto found = std::find_if(kGgufTypes.begin(), kGgufTypes.end(), [&](const GgufType& type) {
    return tensor.packed ? type.packed == tensor.packed : type.plain == tensor.tensor.dtype;
  });
  TORCH_CHECK(found != kGgufTypes.end(), "GGUF cannot hold ", tensor.tensor.dtype);
  return *found;
}

uint64_t bytes_of(const GgufTensor& tensor) {
  const int64_t numbers = c10::multiply_integers(tensor.tensor.shape);
  const int64_t bytes = tensor.packed ? packed_bytes(*tensor.packed, numbers).value()
                                      : numbers * static_cast<int64_t>(c10::elementSize(tensor.tensor.dtype));
  return static_cast<uint64_t>(bytes);
}

uint64_t padding(uint64_t size) {
  return (kGgufAlignment - size % kGgufAlignment) % kGgufAlignment;
}

std::string header_of(const std::string& architecture, const std::map<std::string, GgufTensor>& tensors) {
  std::string out(kGgufMagic);
  put(out, kVersion);
  put(out, static_cast<uint64_t>(tensors.size()));
  put(out, uint64_t{2});
  put_key(out, "general.architecture", GgufValue::kString);
  put_text(out, architecture);
  put_key(out, "general.quantization_version", GgufValue::kUint32);
  put(out, kQuantizationVersion);
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::vector<int64_t>& shape = tensor.tensor.shape;
    put_text(out, name);
    put(out, static_cast<uint32_t>(std::max<size_t>(shape.size(), 1)));
    for (size_t i = shape.size(); i > 0; --i) put(out, static_cast<uint64_t>(shape[i - 1]));
    if (shape.empty()) put(out, uint64_t{1});
    put(out, type_of(tensor).number);
    put(out, offset);
    offset += bytes_of(tensor) + padding(bytes_of(tensor));
  }
  out.append(padding(out.size()), '\0');
  return out;
}

}  // namespace

void write_gguf(const std::filesystem::path& path, const std::string& architecture,
                const std::map<std::string, GgufTensor>& tensors) {
  const std::string header = header_of(architecture, tensors);
  AtomicFile file(path);
  file.write(header);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor made = tensor.tensor.make().cpu().contiguous();
    TORCH_CHECK(made.nbytes() == bytes_of(tensor), "tensor ", name, " is not what was announced");
    file.write({static_cast<const char*>(made.const_data_ptr()), made.nbytes()});
    file.write(std::string(padding(made.nbytes()), '\0'));
  }
  file.commit();
}

}  // namespace tessera
