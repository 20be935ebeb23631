#include "weights/gguf.h"

#include "kernels/pack.h"
#include "kernels/packed.h"
#include "tests/weights/support.h"
#include "weights/gguf_write.h"
#include "weights/names.h"

namespace tessera {
namespace {

using test::TemporaryFolder;
using test::write_bytes;

template <typename Number>
std::string raw(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

std::string text(const std::string& value) {
  return raw(uint64_t{value.size()}) + value;
}

/// One entry of the tensor list.
std::string info(const std::string& name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
  std::string out = text(name) + raw(static_cast<uint32_t>(sizes.size()));
  for (const uint64_t size : sizes) out += raw(size);
  return out + raw(type) + raw(offset);
}

std::string number_key(const std::string& key, uint32_t value) {
  return text(key) + raw(uint32_t{4}) + raw(value);
}

std::string shape_key(const std::string& tensor, const std::vector<int32_t>& shape) {
  std::string out =
      text("comfy.gguf.orig_shape." + tensor) + raw(uint32_t{9}) + raw(uint32_t{5}) + raw(uint64_t{shape.size()});
  for (const int32_t size : shape) out += raw(size);
  return out;
}

struct Parts {
  std::vector<std::string> keys = {}, infos = {};
  std::string data = std::string(64, '\0');
  uint32_t version = 3;
  size_t alignment = 32;
};

std::string file_bytes(const Parts& parts) {
  std::string out = "GGUF" + raw(parts.version) + raw(uint64_t{parts.infos.size()}) + raw(uint64_t{parts.keys.size()});
  for (const auto& key : parts.keys) out += key;
  for (const auto& entry : parts.infos) out += entry;
  out.append((parts.alignment - out.size() % parts.alignment) % parts.alignment, '\0');
  return out + parts.data;
}

struct GgufTest : testing::Test {
  TemporaryFolder folder;

  TensorFile read(const Parts& parts) const { return read_bytes(file_bytes(parts)); }
  TensorFile read_bytes(const std::string& bytes) const {
    write_bytes(folder / "a.gguf", bytes);
    return read_gguf(folder / "a.gguf");
  }
};

TEST_F(GgufTest, SizesAreReversedAndOffsetsCountFromTheData) {
  std::string data;
  for (int i = 0; i < 8; ++i) data += raw(0.0f);
  for (int i = 1; i <= 6; ++i) data += raw(static_cast<float>(i));
  const TensorFile file = read({.keys = {text("general.architecture") + raw(uint32_t{8}) + text("wan")},
                                .infos = {info("a", {3, 2}, 0, 32)},
                                .data = data});
  EXPECT_TRUE(at::equal(file.at("a"), at::arange(1, 7, at::kFloat).view({2, 3})));
  EXPECT_EQ(file.metadata().at("general.architecture"), "wan");
}

TEST_F(GgufTest, AlignmentIsTheFiles) {
  std::string data = raw(1.0f) + raw(2.0f) + raw(3.0f);
  const TensorFile file = read({.keys = {number_key("general.alignment", 4)},
                                .infos = {info("a", {1}, 0, 0), info("b", {2}, 0, 4)},
                                .data = data,
                                .alignment = 4});
  EXPECT_TRUE(at::equal(file.at("b"), at::tensor({2.0f, 3.0f})));
}

TEST_F(GgufTest, TheOriginalShapeOfPackedAndPlainTensors) {
  const TensorFile file = read({.keys = {shape_key("q", {2, 4, 4}), shape_key("f", {2, 2, 1})},
                                .infos = {info("q", {32}, 8, 0), info("f", {4}, 1, 64)},
                                .data = std::string(96, '\0')});
  EXPECT_EQ(file.at("q").sizes(), at::IntArrayRef({2, 4, 4}));
  EXPECT_NE(packed_weight(file.at("q")), nullptr);
  EXPECT_EQ(file.at("f").sizes(), at::IntArrayRef({2, 2, 1}));
  EXPECT_ERROR(read({.keys = {shape_key("q", {2, 4, 5})}, .infos = {info("q", {32}, 8, 0)}}), "a.gguf",
               "comfy.gguf.orig_shape.q", "[2, 4, 5]", "[32]");
  EXPECT_ERROR(read({.keys = {shape_key("q", {-2, -16})}, .infos = {info("q", {32}, 8, 0)}}), "positive");
}

TEST_F(GgufTest, HostileFiles) {
  const auto bad = [&](const Parts& parts, const std::vector<std::string>& words) {
    const std::string message = test::error_of([&] { read(parts); });
    for (const std::string& word : words) EXPECT_TRUE(test::contains(message, word)) << word << " in: " << message;
  };
  bad({.infos = {info("a", {33}, 8, 0)}}, {"tensor a", "rows of 33", "Q8_0", "multiple of 32"});
  bad({.infos = {info("a", {64}, 12, 0)}}, {"rows of 64", "Q4_K", "256"});
  bad({.infos = {info("a", {1}, 22, 0)}}, {"tensor a", "IQ2_S", "Q4_K"});
  bad({.infos = {info("a", {1}, 999, 0)}}, {"number 999"});
  bad({.infos = {info("a", {0}, 0, 0)}}, {"impossible shape"});
  bad({.infos = {info("a", {1ULL << 40, 1ULL << 40}, 0, 0)}}, {"impossible shape"});
  bad({.infos = {info("a", {1ULL << 62}, 0, 0)}}, {"larger than any file"});
  bad({.infos = {info("a", {17}, 0, 0)}}, {"tensor a", "truncated"});
  bad({.infos = {info("a", {1}, 0, ~0ULL - 31)}}, {"tensor a", "truncated"});
  bad({.infos = {info("a", {1}, 0, 8)}}, {"tensor a", "multiple of 32"});
  bad({.infos = {info("a", {9}, 0, 0), info("b", {1}, 0, 32)}}, {"tensor b overlaps"});
  bad({.infos = {info("a", {1}, 0, 0), info("a", {1}, 0, 32)}}, {"tensor a is there twice"});
  bad({.infos = {info("a", {1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 0)}}, {"9 sizes"});
  bad({.infos = {info("", {1}, 0, 0)}}, {"name of 0 bytes"});
  bad({.keys = {number_key("general.alignment", 0)}}, {"general.alignment"});
  bad({.keys = {number_key("general.alignment", 24)}}, {"general.alignment", "power of 2"});
  bad({.keys = {number_key("k", 1), number_key("k", 2)}}, {"key k is there twice"});
  bad({.keys = {text("k") + raw(uint32_t{77})}}, {"key k", "kind 77"});
  bad({.keys = {text("k") + raw(uint32_t{8}) + raw(~0ULL)}}, {"truncated", "a string"});
  bad({.keys = {text("k") + raw(uint32_t{9}) + raw(uint32_t{8}) + raw(~0ULL)}}, {"more items"});
  bad({.keys = {text("k") + raw(uint32_t{9}) + raw(uint32_t{12}) + raw(1ULL << 61)}}, {"more items"});
  bad({.version = 1}, {"version 1", "2 or 3"});
  bad({.version = 0x03000000}, {"big-endian"});
  EXPECT_ERROR(read_bytes("GGUF" + raw(3u) + raw(1ULL << 60) + raw(0ULL)), "claims", "at most");
  EXPECT_ERROR(read_bytes("<html>"), "not a GGUF file", "web page");
}

/// Every proper beginning of a file is an error, never a crash; the last bytes may be padding.
TEST_F(GgufTest, CutAnywhere) {
  const std::string whole =
      file_bytes({.keys = {number_key("k", 1), shape_key("a", {2, 16})}, .infos = {info("a", {32}, 8, 0)}});
  for (size_t size = 4; size < whole.size() - 32; ++size)
    EXPECT_NE(test::refusal_of([&] { read_bytes(whole.substr(0, size)); }), "accepted") << size;
}

TEST_F(GgufTest, WhatIsWrittenReadsBack) {
  const at::Tensor numbers = at::arange(512, at::kFloat).view({2, 256}), bias = at::tensor({1.0f, -2.0f});
  const auto as_is = [](const at::Tensor& t) {
    return GgufTensor{{}, {t.scalar_type(), t.sizes().vec(), [t] { return t; }}};
  };
  std::map<std::string, GgufTensor> tensors = {{"b", as_is(bias)},
                                               {"h", as_is(numbers.to(at::kHalf).view({2, 4, 4, 4, 4}))}};
  for (const PackedType type : {PackedType::kQ8_0, PackedType::kQ4K})
    tensors[format_of(type).name] = {type, {at::kByte, {2, 256}, [=] { return pack(numbers, type).bytes; }}};
  write_gguf(folder / "w.gguf", "wan", tensors);
  const TensorFile file = read_gguf(folder / "w.gguf");
  EXPECT_TRUE(at::equal(file.at("b"), bias));
  EXPECT_TRUE(at::equal(file.at("h").view({2, 256}).to(at::kFloat), numbers));
  for (const PackedType type : {PackedType::kQ8_0, PackedType::kQ4K})
    EXPECT_TRUE(same_packed(file.at(format_of(type).name), packed_tensor(pack(numbers, type))));
  EXPECT_EQ(file.metadata().at("general.architecture"), "wan");
}

TEST_F(GgufTest, NamesOfATextEncoder) {
  const TensorFile file = canonical_tensors({{{"token_embd.weight", at::ones({4, 2})},
                                              {"enc.output_norm.weight", at::ones({2})},
                                              {"enc.blk.1.attn_rel_b.weight", at::ones({2, 2})},
                                              {"enc.blk.0.ffn_gate.weight", at::ones({2, 2})}},
                                             "t5"},
                                            "UMT5EncoderModel");
  for (const char* name : {"shared.weight", "encoder.final_layer_norm.weight",
                           "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
                           "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"})
    EXPECT_NE(file.find(name), nullptr) << name;
  EXPECT_EQ(names_in_gguf(file, "UMT5EncoderModel").at("shared.weight"), "token_embd.weight");
}

}  // namespace
}  // namespace tessera
