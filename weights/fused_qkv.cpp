#include "weights/fused_qkv.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "kernels/packed.h"

namespace tessera {

void split_qkv(std::map<std::string, at::Tensor>& tensors, const std::string& where, const std::string& name,
               const std::string& prefix) {
  const auto entry = tensors.find(name);
  if (entry == tensors.end()) return;
  const at::Tensor fused = entry->second;
  if (fused.dim() == 0 || fused.size(0) % 3 != 0)
    throw Error(c10::str(where, ": ", name, " ", fused.sizes(), " must hold q, k and v in equal parts"));
  tensors.erase(entry);
  const std::string kind = name.substr(name.rfind('.') + 1);
  const int64_t rows = fused.size(0) / 3;
  int64_t first = 0;
  for (const char* part : {"to_q.", "to_k.", "to_v."}) {
    tensors[prefix + part + kind] =
        packed_weight(fused) ? packed_rows(fused, first, rows) : fused.narrow(0, first, rows);
    first += rows;
  }
}

}  // namespace tessera
