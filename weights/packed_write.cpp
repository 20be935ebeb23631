#include "weights/packed_write.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "kernels/pack.h"
#include "weights/gguf_write.h"
#include "weights/names.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr std::string_view kWeight = ".weight";

bool is_block_type(PackedType type) {
  return format_of(type).numbers > 1;
}

/// The dtype that numbers of a type have in safetensors.
at::ScalarType dtype_of(PackedType type) {
  switch (type) {
    case PackedType::kInt8:
      return at::kChar;
    case PackedType::kE4m3:
      return at::kFloat8_e4m3fn;
    case PackedType::kE5m2:
      return at::kFloat8_e5m2;
    default:
      TORCH_CHECK(false, format_of(type).name, " has no dtype");
  }
}

/// What general.architecture calls a network.
std::string architecture_of(const std::string& class_name) {
  if (class_name == "UMT5EncoderModel") return "t5encoder";
  return class_name == "WanTransformer3DModel" ? "wan" : class_name;
}

at::ScalarType plain_dtype(const at::Tensor& tensor, std::optional<at::ScalarType> dtype) {
  if (packed_weight(tensor)) return dtype.value_or(at::kBFloat16);
  return dtype && tensor.is_floating_point() ? *dtype : tensor.scalar_type();
}

TensorToWrite plain(const at::Tensor& tensor, at::ScalarType dtype) {
  return {dtype, tensor.sizes().vec(), [tensor = tensor, dtype] { return unpacked(tensor, dtype).detach(); }};
}

void write_blocks(const std::filesystem::path& path, const std::string& class_name, const TensorFile& file,
                  const PackingPlan& plan, std::optional<at::ScalarType> dtype) {
  const NameTable names = names_in_gguf(file, class_name);
  std::map<std::string, GgufTensor> tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    const auto theirs = names.find(name);
    GgufTensor& entry = tensors[theirs == names.end() ? name : theirs->second];
    if (const auto found = plan.find(name); found != plan.end()) {
      const PackedType type = found->second;
      entry = {type,
               {at::kByte, tensor.sizes().vec(), [tensor = tensor, type] { return packed_for(tensor, type).bytes; }}};
    } else {
      entry = {{}, plain(tensor, tensor.dim() < 2 ? at::kFloat : plain_dtype(tensor, dtype))};
    }
  }
  write_gguf(path, architecture_of(class_name), tensors);
}

/// What the header says of a layer: known from its type, and from how its scales were made where it is packed already.
json layer_format(const at::Tensor& tensor, PackedType type) {
  json says = {{"format", type == PackedType::kE4m3   ? "float8_e4m3fn"
                          : type == PackedType::kE5m2 ? "float8_e5m2"
                                                      : "int8_tensorwise"}};
  const PackedWeight* weight = packed_weight(tensor);
  if (!weight || weight->type != type) return says;
  const bool blocks = weight->scale_columns < weight->columns();
  if (blocks)
    says = {{"format", type == PackedType::kInt8 ? "int8_blockwise" : "float8_e4m3fn_blockwise"},
            {"group_size", weight->scale_columns}};
  if (weight->rotation > 0) says.update({{"convrot", true}, {"convrot_groupsize", weight->rotation}});
  return says;
}

/// The shape that a layer's scales have in the file: one number, one a row, or one a block.
std::vector<int64_t> scale_shape(const at::Tensor& tensor, PackedType type) {
  const PackedWeight* weight = packed_weight(tensor);
  if (weight && weight->type == type) {
    if (weight->scales.numel() == 1) return {};
    return weight->scales.sizes().vec();
  }
  if (type == PackedType::kInt8 && tensor.size(0) > 1) return {tensor.size(0), 1};
  return {};
}

void write_scaled(const std::filesystem::path& path, const TensorFile& file, const PackingPlan& plan,
                  std::map<std::string, std::string> metadata, std::optional<at::ScalarType> dtype) {
  std::map<std::string, TensorToWrite> tensors;
  json layers = json::object();
  for (const auto& [name, tensor] : file.tensors()) {
    const auto found = plan.find(name);
    if (found == plan.end()) {
      tensors[name] = plain(tensor, plain_dtype(tensor, dtype));
      continue;
    }
    const PackedType type = found->second;
    const at::ScalarType stored = dtype_of(type);
    tensors[name] = {stored, tensor.sizes().vec(), [tensor = tensor, type, stored] {
                       return packed_for(tensor, type).bytes.view(stored).view(tensor.sizes());
                     }};
    const PackedWeight* weight = packed_weight(tensor);
    if (weight && weight->type == type && !weight->scales.defined()) continue;  // plain fp8
    TORCH_CHECK(name.ends_with(kWeight), name, " cannot have a scale beside it");
    const std::string layer = name.substr(0, name.size() - kWeight.size());
    const std::vector<int64_t> shape = scale_shape(tensor, type);
    tensors[layer + ".weight_scale"] = {
        at::kFloat, shape, [tensor = tensor, type, shape] { return packed_for(tensor, type).scales.reshape(shape); }};
    layers[layer] = layer_format(tensor, type);
  }
  if (!layers.empty()) metadata["_quantization_metadata"] = json{{"format_version", "1.0"}, {"layers", layers}}.dump();
  write_safetensors_as_made(path, tensors, metadata);
}

}  // namespace

PackedWeight packed_for(const at::Tensor& tensor, PackedType type) {
  const PackedWeight* weight = packed_weight(tensor);
  if (weight && weight->type == type) return *weight;
  return pack(unpacked(tensor, at::kFloat), type);
}

void write_packed(const std::filesystem::path& stem, const std::string& class_name,
                  const std::map<std::string, at::Tensor>& tensors, const PackingPlan& plan,
                  std::map<std::string, std::string> metadata, std::optional<at::ScalarType> dtype) {
  const auto blocks =
      std::count_if(plan.begin(), plan.end(), [](const auto& entry) { return is_block_type(entry.second); });
  const TensorFile file{tensors, stem.string()};
  if (blocks == 0) return write_scaled(stem.string() + ".safetensors", file, plan, std::move(metadata), dtype);
  if (static_cast<size_t>(blocks) != plan.size())
    throw Error("cannot write " + stem.string() +
                ": its weights are quantized in blocks and by scales; choose a --dtype");
  write_blocks(stem.string() + ".gguf", class_name, file, plan, dtype);
}

}  // namespace tessera
