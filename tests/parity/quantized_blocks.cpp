// Numbers of packed weights against gguf's and comfy-kitchen's, bit for bit.
#include "kernels/pack.h"
#include "tests/support/fixture.h"
#include "tests/support/instruction_sets.h"
#include "weights/scaled_weights.h"

namespace tessera {
namespace {

struct QuantizedBlocks : testing::Test {
  test::Fixture fixture{"quantized_blocks"};

  std::vector<std::string> names(const char* key) const { return fixture.config.at(key); }
};

PackedType type_named(const std::string& name) {
  for (int type = 0; type <= static_cast<int>(PackedType::kBfloat16); ++type)
    if (format_of(static_cast<PackedType>(type)).name == name) return static_cast<PackedType>(type);
  throw Error("no packed type " + name);
}

at::Tensor packed_of(const std::string& name, const at::Tensor& bytes, const at::Tensor& values) {
  return packed_tensor({.type = type_named(name), .shape = values.sizes().vec(), .bytes = bytes.reshape({-1})});
}

TEST_F(QuantizedBlocks, EveryTypeIsBitExact) {
  ASSERT_EQ(names("types").size(), 10u);
  for (const auto& name : names("types"))
    test::for_each_instruction_set([&] {
      const at::Tensor values = fixture[name + ".values"];
      const at::Tensor got = unpacked(packed_of(name, fixture[name + ".bytes"], values), at::kFloat);
      EXPECT_TRUE(at::equal(got, values)) << name << " " << test::relative_error(got, values);
    });
}

TEST_F(QuantizedBlocks, RowsAndOddRangesAreTheSameNumbers) {
  for (const auto& name : names("types")) {
    const at::Tensor values = fixture[name + ".values"];
    const at::Tensor whole = packed_of(name, fixture[name + ".bytes"], values);
    const at::Tensor some = at::empty({2, values.size(1)});
    unpack_rows(*packed_weight(whole), 1, 2, some);
    EXPECT_TRUE(at::equal(some, values.narrow(0, 1, 2))) << name;
    const at::Tensor narrow = values.reshape({-1, 24});  // rows that begin and end inside blocks
    EXPECT_TRUE(at::equal(unpacked(packed_of(name, fixture[name + ".bytes"], narrow), at::kFloat), narrow)) << name;
  }
}

TEST_F(QuantizedBlocks, Bfloat16IsRoundedOnce) {
  for (const auto& name : names("types")) {
    const at::Tensor values = fixture[name + ".values"];
    const at::Tensor got = unpacked(packed_of(name, fixture[name + ".bytes"], values), at::kBFloat16);
    EXPECT_TRUE(at::equal(got, values.to(at::kBFloat16))) << name;
  }
}

TEST_F(QuantizedBlocks, OurQuantizersGiveTheSameBlocks) {
  ASSERT_FALSE(names("quantized_by_reference").empty());
  for (const auto& name : names("quantized_by_reference")) {
    const at::Tensor source = fixture[name + ".source"], bytes = fixture[name + ".bytes"];
    const at::Tensor want = bytes.narrow(0, 0, source.size(0)).reshape({-1});
    EXPECT_TRUE(at::equal(pack(source, type_named(name)).bytes, want)) << name;
  }
  const TensorFile file = with_scales(read_safetensors(fixture.folder / "scaled.safetensors"));
  for (const auto& [name, type] : {std::pair{"float8_e4m3fn", PackedType::kE4m3}, {"int8_rows", PackedType::kInt8}})
    EXPECT_TRUE(same_packed(packed_tensor(pack(fixture[std::string(name) + ".source"], type)),
                            file.at(std::string(name) + ".weight")))
        << name;
}

TEST_F(QuantizedBlocks, ScaledLayers) {
  const TensorFile file = with_scales(read_safetensors(fixture.folder / "scaled.safetensors"));
  const auto rotated = names("rotated");
  ASSERT_FALSE(names("scaled").empty());
  for (const auto& name : names("scaled")) {
    const at::Tensor got = unpacked(file.at(name + ".weight"), at::kFloat), values = fixture[name + ".values"];
    if (std::find(rotated.begin(), rotated.end(), name) != rotated.end())
      EXPECT_CLOSE(got, values, 1e-6);  // sums in another order
    else
      EXPECT_TRUE(at::equal(got, values)) << name;
  }
  EXPECT_EQ(file.tensors().size(), names("scaled").size());
}

}  // namespace
}  // namespace tessera
