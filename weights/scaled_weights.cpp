#include "weights/scaled_weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/text.h"
#include "kernels/hadamard.h"
#include "kernels/packed.h"
#include "weights/shown.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr const char* kMetadata = "_quantization_metadata";
constexpr std::string_view kMarker = "scaled_fp8", kLayerFormat = ".comfy_quant", kWeight = ".weight";
constexpr std::string_view kScales[] = {".scale_weight", ".weight_scale"};
constexpr std::string_view kInputScales[] = {".scale_input", ".input_scale"};
constexpr int64_t kUsualBlock = 128;
constexpr int64_t kUsualRotation = 256;
constexpr int64_t kLongestFormat = 65'536;  // bytes of JSON about one layer
constexpr size_t kLongestMetadata = 32 << 20;
constexpr int kDeepest = 8;

struct FormatName {
  const char* name;
  PackedType type;
};
constexpr std::array<FormatName, 6> kFormats = {{
    {"float8_e4m3fn", PackedType::kE4m3},
    {"float8_e5m2", PackedType::kE5m2},
    {"float8_e4m3fn_rowwise", PackedType::kE4m3},
    {"float8_e4m3fn_blockwise", PackedType::kE4m3},
    {"int8_tensorwise", PackedType::kInt8},
    {"int8_blockwise", PackedType::kInt8},
}};

/// What a file says of one layer.
struct LayerFormat {
  PackedType type;
  int64_t block = 0;     ///< side of the squares that share a scale; 0: not said
  int64_t rotation = 0;  ///< 0: not rotated
};

using LayerFormats = std::map<std::string, LayerFormat>;

[[noreturn]] void fail(const TensorFile& file, const std::string& layer, const std::string& problem) {
  throw Error(file.where() + ": layer " + plain(layer) + " " + problem);
}

/// NAME of NAME + end; nullopt for other names.
std::optional<std::string> layer_before(const std::string& name, std::string_view end) {
  if (name.size() <= end.size() || !name.ends_with(end)) return std::nullopt;
  return name.substr(0, name.size() - end.size());
}

template <size_t N>
std::optional<std::string> layer_before_any(const std::string& name, const std::string_view (&ends)[N]) {
  for (const std::string_view end : ends)
    if (auto layer = layer_before(name, end)) return layer;
  return std::nullopt;
}

bool is_marker(const std::string& name) {
  return name == kMarker || name.ends_with("." + std::string(kMarker));
}

/// JSON of bounded depth; discarded when it is not valid.
json parse(std::string_view text) {
  const auto watch = [](int depth, json::parse_event_t, json&) { return depth <= kDeepest; };
  return json::parse(text, watch, /*allow_exceptions=*/false);
}

int64_t whole_number(const TensorFile& file, const std::string& layer, const json& says, const char* key,
                     int64_t fallback) {
  if (!says.contains(key) || says[key].is_null()) return fallback;
  const json& value = says[key];
  constexpr int64_t kLargest = 65'536;
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > kLargest)
    fail(file, layer,
         std::string("has ") + key + " " + shown(value.dump(-1, ' ', true, json::error_handler_t::replace)) +
             ", want a whole number from 1 to 65536");
  return value.get<int64_t>();
}

LayerFormat read_format(const TensorFile& file, const std::string& layer, const json& given) {
  const json says = given.is_string() ? json{{"format", given}} : given;
  if (!says.is_object() || !says.contains("format") || !says["format"].is_string())
    fail(file, layer, "has a quantization without a \"format\"");
  const auto name = says["format"].get<std::string>();
  const auto found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const auto& known) { return known.name == name; });
  if (found == kFormats.end())
    fail(file, layer,
         "is quantized as " + shown(name) + ", which is not supported; want one of " +
             joined(kFormats, ", ", [](const FormatName& known) { return known.name; }));
  LayerFormat format{.type = found->type};
  format.block = whole_number(file, layer, says, "group_size", 0);
  const json turned = says.value("convrot", json(false));
  if (!turned.is_boolean()) fail(file, layer, "has a \"convrot\" that is neither true nor false");
  if (turned.get<bool>()) {
    format.rotation = whole_number(file, layer, says, "convrot_groupsize", kUsualRotation);
    if (!is_hadamard_size(format.rotation))
      fail(file, layer,
           "is rotated by groups of " + std::to_string(format.rotation) + "; want a power of 4 up to 4096");
  }
  return format;
}

/// The layer's name in the tensors: the header may leave out a prefix that all of them have.
std::string name_in(const TensorFile& file, const std::string& layer) {
  for (const char* prefix : {"", "model.diffusion_model.", "diffusion_model.", "model."})
    if (file.find(prefix + layer + std::string(kWeight))) return prefix + layer;
  return layer;
}

LayerFormats formats_in_header(const TensorFile& file) {
  LayerFormats formats;
  const auto found = file.metadata().find(kMetadata);
  if (found == file.metadata().end()) return formats;
  const std::string where = file.where() + ": its header's " + kMetadata;
  const json says = found->second.size() > kLongestMetadata ? json(json::value_t::discarded) : parse(found->second);
  if (says.is_discarded() || !says.is_object() || !says.contains("layers") || !says["layers"].is_object())
    throw Error(where + " is not JSON text with an object \"layers\"");
  for (const auto& [layer, format] : says["layers"].items())
    formats.emplace(name_in(file, layer), read_format(file, layer, format));
  return formats;
}

LayerFormats layer_formats(const TensorFile& file) {
  LayerFormats formats = formats_in_header(file);
  for (const auto& [name, tensor] : file.tensors()) {
    const auto layer = layer_before(name, kLayerFormat);
    if (!layer) continue;
    if (packed_weight(tensor) || tensor.element_size() != 1 || tensor.numel() > kLongestFormat ||
        !tensor.is_contiguous())
      fail(file, *layer, "has a comfy_quant that is not a text of at most 65536 bytes");
    const json says = parse({static_cast<const char*>(tensor.const_data_ptr()), static_cast<size_t>(tensor.numel())});
    if (says.is_discarded()) fail(file, *layer, "has a comfy_quant that is not JSON text");
    formats.insert_or_assign(*layer, read_format(file, *layer, says));
  }
  return formats;
}

/// The type of a stored weight; nullopt when its numbers are not packed ones.
std::optional<PackedType> type_of(const at::Tensor& tensor, const LayerFormat* format) {
  if (packed_weight(tensor)) return std::nullopt;
  switch (tensor.scalar_type()) {
    case at::kFloat8_e4m3fn:
      return PackedType::kE4m3;
    case at::kFloat8_e5m2:
      return PackedType::kE5m2;
    case at::kChar:
      return PackedType::kInt8;
    case at::kByte:  // a container for fp8
      return format && format->type != PackedType::kInt8 ? std::optional(format->type) : std::nullopt;
    default:
      return std::nullopt;
  }
}

bool is_fp8(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat8_e4m3fn || tensor.scalar_type() == at::kFloat8_e5m2;
}

PackedWeight packed_numbers(const at::Tensor& tensor, PackedType type) {
  const at::Tensor whole = tensor.contiguous();
  return {.type = type, .shape = tensor.sizes().vec(), .bytes = whole.view(at::kByte).view({-1})};
}

std::string shapes_text(const at::Tensor& scale, const at::Tensor& weight) {
  return c10::str("has a scale ", scale.sizes(), " that does not fit its weight ", weight.sizes());
}

/// Sets how the scale is spread over rows and columns.
void spread(const TensorFile& file, const std::string& layer, const at::Tensor& scale, const LayerFormat* format,
            const at::Tensor& tensor, PackedWeight& weight) {
  const int64_t rows = weight.rows(), columns = weight.columns();
  weight.scale_rows = std::max<int64_t>(rows, 1);
  weight.scale_columns = columns;
  if (scale.numel() == 1) {
    weight.scales = scale.view({1, 1});
    return;
  }
  const bool each_row = scale.numel() == rows && scale.dim() <= 2 && scale.size(0) == rows;
  if (each_row) {
    weight.scales = scale.view({rows, 1});
    weight.scale_rows = 1;
    return;
  }
  const int64_t block = format && format->block > 0 ? format->block : kUsualBlock;
  const auto blocks = [block](int64_t size) { return (size + block - 1) / block; };
  if (scale.dim() != 2 || scale.size(0) != blocks(rows) || scale.size(1) != blocks(columns))
    fail(file, layer,
         shapes_text(scale, tensor) + ": want one number, one for each row, or one for each block of " +
             std::to_string(block) + " by " + std::to_string(block));
  weight.scales = scale;
  weight.scale_rows = weight.scale_columns = block;
}

at::Tensor read_scale(const TensorFile& file, const std::string& layer, const at::Tensor& stored) {
  if (packed_weight(stored) || !stored.is_floating_point() || stored.numel() < 1)
    fail(file, layer, "has a scale that is not a floating-point number");
  const at::Tensor scale = stored.to(at::kFloat).contiguous().clone();
  const float* numbers = scale.const_data_ptr<float>();
  const bool good = std::all_of(numbers, numbers + scale.numel(), [](float n) { return std::isfinite(n) && n >= 0; });
  if (!good) fail(file, layer, "has a scale that is negative, infinite or no number");
  return scale;
}

at::Tensor scaled(const TensorFile& file, const std::string& layer, const at::Tensor& tensor, const at::Tensor& stored,
                  const LayerFormat* format) {
  const auto type = type_of(tensor, format);
  if (!type || tensor.dim() < 1 || tensor.numel() == 0)
    fail(file, layer,
         c10::str("has a scale, but its weight holds ", tensor.scalar_type(), "; want fp8 or int8 numbers"));
  if (format && format->type != *type)
    fail(file, layer,
         std::string("is said to hold ") + format_of(format->type).name + ", but its weight holds " +
             format_of(*type).name);
  PackedWeight weight = packed_numbers(tensor, *type);
  spread(file, layer, read_scale(file, layer, stored), format, tensor, weight);
  if (format && format->rotation > 0) {
    if (weight.columns() % format->rotation != 0)
      fail(file, layer,
           "is rotated by groups of " + std::to_string(format->rotation) + ", which do not divide its " +
               std::to_string(weight.columns()) + " columns");
    weight.rotation = format->rotation;
  }
  return packed_tensor(std::move(weight));
}

/// The scales of weights, by layer.
std::map<std::string, at::Tensor> weight_scales(const TensorFile& file) {
  std::map<std::string, at::Tensor> scales;
  for (const auto& [name, tensor] : file.tensors())
    if (const auto layer = layer_before_any(name, kScales); layer && !scales.emplace(*layer, tensor).second)
      fail(file, *layer, "has two scales, scale_weight and weight_scale");
  return scales;
}

/// Tensors that say something of others and are no weights.
bool is_note(const std::string& name) {
  return is_marker(name) || layer_before(name, kLayerFormat) || layer_before_any(name, kScales) ||
         layer_before_any(name, kInputScales);
}

std::string no_scale(const std::string& why) {
  return "has no scale (weight_scale or scale_weight), " + why +
         ": without it the numbers mean nothing; get the complete file";
}

}  // namespace

TensorFile with_scales(const TensorFile& stored) {
  const LayerFormats formats = layer_formats(stored);
  const std::map<std::string, at::Tensor> scales = weight_scales(stored);
  const auto names = stored.names();
  const bool marked = std::any_of(names.begin(), names.end(), is_marker);
  for (const auto& [layer, scale] : scales)
    if (!stored.find(layer + std::string(kWeight))) fail(stored, layer, "has a scale but no weight");
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : stored.tensors()) {
    if (is_note(name)) continue;
    const auto layer = layer_before(name, kWeight);
    const auto scale = layer ? scales.find(*layer) : scales.end();
    const auto format = layer ? formats.find(*layer) : formats.end();
    const LayerFormat* says = format == formats.end() ? nullptr : &format->second;
    if (scale != scales.end()) {
      tensors.emplace(name, scaled(stored, *layer, tensor, scale->second, says));
      continue;
    }
    if (says) fail(stored, *layer, no_scale("although the file says how it is quantized"));
    const bool matrix = layer && tensor.dim() == 2 && tensor.numel() > 0 && !packed_weight(tensor);
    if (matrix && is_fp8(tensor) && (marked || !scales.empty()))
      fail(stored, *layer, no_scale(marked ? "although the file is marked scaled_fp8" : "although others have one"));
    if (matrix && tensor.scalar_type() == at::kChar) fail(stored, *layer, no_scale("although it holds int8 numbers"));
    tensors.emplace(
        name, matrix && is_fp8(tensor) ? packed_tensor(packed_numbers(tensor, *type_of(tensor, nullptr))) : tensor);
  }
  return {std::move(tensors), stored.where(), stored.metadata()};
}

bool lost_scales(const TensorFile& file) {
  int64_t matrices = 0, full = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    const PackedWeight* weight = packed_weight(tensor);
    if (!weight || weight->scales.defined()) continue;
    if (weight->type != PackedType::kE4m3 && weight->type != PackedType::kE5m2) continue;
    const int largest = weight->type == PackedType::kE4m3 ? 0x7e : 0x7b;
    const auto* codes = static_cast<const uint8_t*>(weight->bytes.const_data_ptr());
    ++matrices;
    full +=
        std::any_of(codes, codes + weight->bytes.numel(), [largest](uint8_t code) { return (code & 0x7f) == largest; });
  }
  return matrices > 0 && 2 * full > matrices;
}

}  // namespace tessera
