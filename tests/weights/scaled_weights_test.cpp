#include "weights/scaled_weights.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "core/params.h"
#include "kernels/packed.h"
#include "tests/weights/support.h"
#include "weights/bind.h"
#include "weights/packed_write.h"

namespace tessera {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

at::Tensor fp8(std::vector<float> values) {
  return at::tensor(values).view({2, -1}).to(at::kFloat8_e4m3fn);
}

at::Tensor text(const std::string& value) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(value.size())}, at::kByte);
  std::memcpy(bytes.data_ptr(), value.data(), value.size());
  return bytes;
}

TensorFile file_of(Tensors tensors, const std::string& metadata = "") {
  std::map<std::string, std::string> header;
  if (!metadata.empty()) header["_quantization_metadata"] = metadata;
  return {std::move(tensors), "f.safetensors", header};
}

at::Tensor numbers_of(const TensorFile& file, const std::string& name) {
  return unpacked(file.at(name), at::kFloat);
}

std::string error_of(const TensorFile& file) {
  return test::error_of([&] { with_scales(file); });
}

void expect_words(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& word : words) EXPECT_TRUE(test::contains(message, word)) << word << " in: " << message;
}

const at::Tensor kWeight = fp8({1, 2, -4, 0.5f});
const at::Tensor kNumbers = at::tensor({1.0f, 2.0f, -4.0f, 0.5f}).view({2, 2});
const at::Tensor kHalf = at::scalar_tensor(0.5);

TEST(ScaledWeights, BothNamesOfAScale) {
  for (const char* end : {".scale_weight", ".weight_scale"}) {
    const TensorFile file =
        with_scales(file_of({{"a.weight", kWeight}, {std::string("a") + end, kHalf}, {"n", at::ones({3})}}));
    EXPECT_TRUE(at::equal(numbers_of(file, "a.weight"), kNumbers * 0.5)) << end;
    EXPECT_EQ(file.names(), (std::vector<std::string>{"a.weight", "n"}));
  }
}

TEST(ScaledWeights, NotesAreNoWeights) {
  const TensorFile file = with_scales(file_of({{"m.scaled_fp8", fp8({0, 0})},
                                               {"m.a.weight", kWeight},
                                               {"m.a.scale_weight", kHalf.view({1})},
                                               {"m.a.scale_input", kHalf},
                                               {"m.a.comfy_quant", text(R"({"format": "float8_e4m3fn"})")}}));
  EXPECT_EQ(file.names(), std::vector<std::string>{"m.a.weight"});
}

TEST(ScaledWeights, AScaledFileWithoutItsScalesIsAnError) {
  expect_words(error_of(file_of({{"scaled_fp8", at::empty({0}, at::kFloat8_e4m3fn)}, {"a.weight", kWeight}})),
               {"f.safetensors", "layer a", "no scale", "scaled_fp8"});
  expect_words(error_of(file_of({{"a.weight", kWeight}}, R"({"layers": {"a": {"format": "float8_e4m3fn"}}})")),
               {"layer a", "no scale", "says how it is quantized"});
  expect_words(error_of(file_of({{"a.weight", kWeight}, {"a.comfy_quant", text(R"({"format": "float8_e4m3fn"})")}})),
               {"layer a", "no scale"});
  expect_words(error_of(file_of({{"a.weight", kWeight}, {"a.weight_scale", kHalf}, {"b.weight", kWeight}})),
               {"layer b", "no scale", "others have one"});
  expect_words(error_of(file_of({{"a.weight", at::ones({2, 2}, at::kChar)}})), {"layer a", "int8", "no scale"});
}

/// A header may name layers without the prefix of a single file.
TEST(ScaledWeights, AHeaderWithoutThePrefix) {
  const std::string prefix = "model.diffusion_model.";
  const std::string header = R"({"format_version": "1.0", "layers": {"a": {"format": "float8_e4m3fn"}}})";
  expect_words(error_of(file_of({{prefix + "a.weight", kWeight}}, header)), {"layer " + prefix + "a", "no scale"});
  const TensorFile file =
      with_scales(file_of({{prefix + "a.weight", kWeight}, {prefix + "a.weight_scale", kHalf}}, header));
  EXPECT_TRUE(at::equal(numbers_of(file, prefix + "a.weight"), kNumbers * 0.5));
}

/// uint8 may hold fp8 numbers, when a format says so.
TEST(ScaledWeights, Containers) {
  const at::Tensor bytes = kWeight.view(at::kByte);
  const TensorFile file =
      with_scales(file_of({{"a.weight", bytes}, {"a.weight_scale", kHalf}}, R"({"layers": {"a": "float8_e4m3fn"}})"));
  EXPECT_TRUE(at::equal(numbers_of(file, "a.weight"), kNumbers * 0.5));
  expect_words(error_of(file_of({{"a.weight", bytes}, {"a.weight_scale", kHalf}})), {"layer a", "Byte", "fp8 or int8"});
}

TEST(ScaledWeights, ScalesThatDoNotFit) {
  const auto with = [](const at::Tensor& scale) { return file_of({{"a.weight", kWeight}, {"a.weight_scale", scale}}); };
  expect_words(error_of(with(at::ones({3}))), {"layer a", "[3]", "[2, 2]", "one for each row"});
  expect_words(error_of(with(at::ones({2, 2}))), {"layer a", "128"});
  expect_words(error_of(with(at::empty({0}))), {"layer a", "floating-point"});
  expect_words(error_of(with(at::ones({1}, at::kLong))), {"layer a", "floating-point"});
  for (const double bad : {-1.0, std::numeric_limits<double>::infinity(), std::nan("")})
    expect_words(error_of(with(at::scalar_tensor(bad))), {"layer a", "negative, infinite or no number"});
  expect_words(error_of(file_of({{"a.weight_scale", kHalf}})), {"layer a", "no weight"});
  expect_words(error_of(file_of({{"a.weight", kNumbers}, {"a.weight_scale", kHalf}})), {"layer a", "Float"});
  expect_words(error_of(file_of({{"a.weight", kWeight}, {"a.weight_scale", kHalf}, {"a.scale_weight", kHalf}})),
               {"two scales"});
}

TEST(ScaledWeights, HostileFormats) {
  const auto says = [](const std::string& json) {
    return file_of({{"a.weight", kWeight}, {"a.weight_scale", kHalf}, {"a.comfy_quant", text(json)}});
  };
  expect_words(error_of(says("{")), {"layer a", "not JSON"});
  expect_words(error_of(says("{}")), {"layer a", "format"});
  expect_words(error_of(says(R"({"format": "nvfp4"})")), {"layer a", "nvfp4", "float8_e4m3fn"});
  expect_words(error_of(says(R"({"format": "int8_tensorwise"})")), {"said to hold int8", "fp8_e4m3fn"});
  expect_words(error_of(says(R"({"format": "float8_e4m3fn", "group_size": -1})")), {"group_size"});
  expect_words(error_of(says(R"({"format": "float8_e4m3fn", "group_size": 1e99})")), {"group_size"});
  expect_words(error_of(says(R"({"format": "float8_e4m3fn", "convrot": true, "convrot_groupsize": 8})")),
               {"power of 4"});
  expect_words(error_of(says(R"({"format": "float8_e4m3fn", "convrot": true})")), {"256", "do not divide"});
  expect_words(error_of(says(R"({"format": "float8_e4m3fn", "convrot": 1})")), {"convrot"});
  expect_words(error_of(says(std::string(100'000, ' '))), {"65536"});
  for (const char* header : {"{", "[]", "{}", R"({"layers": []})", R"({"layers": {"a": 3}})"})
    EXPECT_NE(test::refusal_of([&] { with_scales(file_of({{"a.weight", kWeight}}, header)); }), "accepted") << header;
  EXPECT_ERROR(with_scales(file_of({}, std::string(3000, '['))), "f.safetensors", "_quantization_metadata");
}

/// Weights that were divided by a scale reach the largest fp8 number; plain ones do not.
TEST(ScaledWeights, LostScalesAreNoticedByTheNumbers) {
  const TensorFile divided =
      with_scales(file_of({{"a.weight", fp8({448, 1, 2, 3})}, {"b.weight", fp8({1, 2, 3, -448})}}));
  EXPECT_TRUE(lost_scales(divided));
  EXPECT_FALSE(lost_scales(with_scales(file_of({{"a.weight", fp8({448, 1, 2, 3})}, {"b.weight", kWeight}}))));
  EXPECT_FALSE(lost_scales(with_scales(file_of({{"a.weight", fp8({448, 1, 2, 3})}, {"a.weight_scale", kHalf}}))));
  at::Tensor a, b;
  ParamList params;
  params.add("a.weight", a, {2, 2});
  params.add("b.weight", b, {2, 2});
  EXPECT_ERROR(bind(params, divided, at::kFloat, at::kCPU), "f.safetensors", "no scales", "complete file");
}

TEST(ScaledWeights, BindKeepsPackedWhatTheNetworkTakesPacked) {
  const TensorFile file = with_scales(file_of(
      {{"a.weight", kWeight}, {"a.weight_scale", kHalf}, {"b.weight", kWeight.clone()}, {"b.weight_scale", kHalf}}));
  at::Tensor a, b;
  ParamList params;
  params.add("a.weight", a, {2, 2});
  params.last_is_packable();
  params.add("b.weight", b, {2, 2});
  bind(params, file, at::kBFloat16, at::kCPU);
  ASSERT_NE(packed_weight(a), nullptr);
  EXPECT_EQ(a.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(unpacked(a, at::kFloat), kNumbers * 0.5));
  EXPECT_TRUE(at::equal(b, (kNumbers * 0.5).to(at::kBFloat16)));
  const TensorFile broken =
      with_scales(file_of({{"a.weight", at::full({2, 2}, 127, at::kByte).view(at::kFloat8_e4m3fn)},
                           {"a.weight_scale", kHalf},
                           {"b.weight", kWeight},
                           {"b.weight_scale", kHalf}}));
  EXPECT_ERROR(bind(params, broken, at::kFloat, at::kCPU), "a.weight holds NaN or infinity");
}

TEST(ScaledWeights, WhatIsWrittenReadsBack) {
  const test::TemporaryFolder folder;
  const Tensors tensors = {{"a.weight", at::randn({6, 8})}, {"a.bias", at::ones({6})}, {"b.weight", at::randn({1, 8})}};
  for (const PackedType type : {PackedType::kE4m3, PackedType::kInt8}) {
    const PackingPlan plan = {{"a.weight", type}, {"b.weight", type}};
    write_packed(folder / "w", "X", tensors, plan, {{"format", "pt"}}, at::kBFloat16);
    const TensorFile file = with_scales(read_safetensors(folder / "w.safetensors"));
    for (const char* name : {"a.weight", "b.weight"})
      EXPECT_TRUE(same_packed(file.at(name), packed_tensor(packed_for(tensors.at(name), type)))) << name;
    EXPECT_EQ(file.at("a.bias").scalar_type(), at::kBFloat16);
    // Packed tensors are written as they are.
    write_packed(folder / "again", "X", file.tensors(), plan, {}, {});
    EXPECT_TRUE(
        same_packed(with_scales(read_safetensors(folder / "again.safetensors")).at("a.weight"), file.at("a.weight")));
  }
}

}  // namespace
}  // namespace tessera
