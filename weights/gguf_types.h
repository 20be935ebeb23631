#pragma once

#include <c10/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/packed.h"

// What reader and writer of GGUF share. Source: the GGUF specification of ggml.
namespace tessera {

inline constexpr std::string_view kGgufMagic = "GGUF";
inline constexpr std::string_view kGgufShapeKey = "comfy.gguf.orig_shape.";
inline constexpr uint64_t kGgufAlignment = 32;  ///< of tensors, where a file does not say otherwise

/// ggml's numbers of types; those that are read have a PackedType or a plain dtype.
struct GgufType {
  uint32_t number;
  const char* name;
  std::optional<PackedType> packed = {};
  std::optional<at::ScalarType> plain = {};
};
inline constexpr std::array<GgufType, 35> kGgufTypes = {{
    {.number = 0, .name = "F32", .plain = at::kFloat},
    {.number = 1, .name = "F16", .plain = at::kHalf},
    {.number = 2, .name = "Q4_0", .packed = PackedType::kQ4_0},
    {.number = 3, .name = "Q4_1", .packed = PackedType::kQ4_1},
    {.number = 6, .name = "Q5_0", .packed = PackedType::kQ5_0},
    {.number = 7, .name = "Q5_1", .packed = PackedType::kQ5_1},
    {.number = 8, .name = "Q8_0", .packed = PackedType::kQ8_0},
    {.number = 9, .name = "Q8_1"},
    {.number = 10, .name = "Q2_K", .packed = PackedType::kQ2K},
    {.number = 11, .name = "Q3_K", .packed = PackedType::kQ3K},
    {.number = 12, .name = "Q4_K", .packed = PackedType::kQ4K},
    {.number = 13, .name = "Q5_K", .packed = PackedType::kQ5K},
    {.number = 14, .name = "Q6_K", .packed = PackedType::kQ6K},
    {.number = 15, .name = "Q8_K"},
    {.number = 16, .name = "IQ2_XXS"},
    {.number = 17, .name = "IQ2_XS"},
    {.number = 18, .name = "IQ3_XXS"},
    {.number = 19, .name = "IQ1_S"},
    {.number = 20, .name = "IQ4_NL"},
    {.number = 21, .name = "IQ3_S"},
    {.number = 22, .name = "IQ2_S"},
    {.number = 23, .name = "IQ4_XS"},
    {.number = 24, .name = "I8"},
    {.number = 25, .name = "I16"},
    {.number = 26, .name = "I32"},
    {.number = 27, .name = "I64"},
    {.number = 28, .name = "F64", .plain = at::kDouble},
    {.number = 29, .name = "IQ1_M"},
    {.number = 30, .name = "BF16", .plain = at::kBFloat16},
    {.number = 34, .name = "TQ1_0"},
    {.number = 35, .name = "TQ2_0"},
    {.number = 36, .name = "IQ4_NL_4_4"},
    {.number = 37, .name = "IQ4_NL_4_8"},
    {.number = 38, .name = "IQ4_NL_8_8"},
    {.number = 39, .name = "MXFP4"},
}};

/// ggml's numbers of the kinds of values in keys.
enum class GgufValue : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

}  // namespace tessera
