#include "checkpoints/load_part.h"

#include <unistd.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/transfer.h"
#include "kernels/library_linear.h"
#include "kernels/packed.h"
#include "weights/file_map.h"
#include "weights/foreign_file.h"
#include "weights/names.h"

namespace tessera {

TensorFile read_component(const Component& part) {
  return canonical_tensors(read_weights(part), part.class_name);
}

at::ScalarType most_common_dtype(const TensorFile& file) {
  std::map<at::ScalarType, int64_t> numbers;
  for (const auto& [name, tensor] : file.tensors())
    numbers[packed_weight(tensor) ? at::kBFloat16 : tensor.scalar_type()] += tensor.numel();
  const auto most = std::max_element(numbers.begin(), numbers.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == numbers.end() ? at::kFloat : most->first;
}

std::set<std::string> matrices_of(const ParamList& params) {
  std::set<std::string> names;
  for (const Param& param : params) {
    const bool inside = param.name.find("block") != std::string::npos || param.name == "shared.weight";
    if (param.packable && !param.keep_float && inside) names.insert(param.name);
  }
  return names;
}

void move_to_gpu(const Param& param, at::ScalarType dtype, at::Device device) {
  *param.slot = uploaded(unpacked(*param.slot, param.keep_float ? at::kFloat : dtype).contiguous(), device);
}

void arrange_weights(const ParamList& params) {
  constexpr int64_t kPart = 4;  // of the machine's memory
  std::vector<at::Tensor*> matrices;
  int64_t bytes = 0;
  for (const Param& param : params) {
    if (!param.packable || param.keep_float || !can_arrange(*param.slot)) continue;
    matrices.push_back(param.slot);
    bytes += static_cast<int64_t>(param.slot->nbytes());
  }
  const int64_t memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  if (bytes > memory / kPart) return;
  for (at::Tensor* matrix : matrices) {
    const at::Tensor source = *matrix;
    *matrix = arranged(source);
    forget_pages(source);
  }
}

void require_streamable(bool stream, at::Device device) {
  if (stream && !device.is_cpu())
    throw Error(
        "--stream-layers works on the CPU for this model: add --device cpu, or leave it out to keep the weights on the "
        "GPU");
}

void require_one_of(bool stream, bool int8) {
  if (stream && int8)
    throw Error(
        "--stream-layers reads weights from the file for each use, and --dtype int8 keeps quantized ones in memory: "
        "leave one out");
}

void check_tensors(const ParamList& params, const TensorFile& file, WeightCheck depth) {
  check_names(params, file);
  if (holds_only_zeros(file))
    throw Error(file.where() +
                " holds nothing but zeros, space that a download reserved and never filled: finish the download or "
                "start it again");
  if (depth == WeightCheck::kNumbers) bind(params, file, most_common_dtype(file), at::kCPU);
}

}  // namespace tessera
