#include "weights/lora.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/instruction_set.h"
#include "kernels/library_linear.h"
#include "kernels/linear.h"
#include "kernels/pack.h"
#include "kernels/packed.h"
#include "tests/support/fixture.h"
#include "tests/weights/support.h"

namespace tessera {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

const std::string kLayer = "transformer.blocks.0.attn1.to_q";

/// A layer of 3 outputs and 2 inputs with a pair of rank 1.
Tensors pair_of(const std::string& layer = kLayer) {
  return {{layer + ".lora_A.weight", at::tensor({1.0f, 2.0f}).view({1, 2})},
          {layer + ".lora_B.weight", at::tensor({3.0f, 4.0f, 5.0f}).view({3, 1})}};
}

struct Lora : testing::Test {
  test::TemporaryFolder folder;

  LoraFile read(const Tensors& tensors, const std::map<std::string, std::string>& metadata = {}) const {
    write_safetensors(folder / "a.safetensors", tensors, metadata);
    return read_lora_file(folder / "a.safetensors");
  }

  static LoraTerm term(const LoraFile& file, double strength = 1, bool to_bias = false) {
    const auto& [name, layer] = *file.layers.begin();
    return {.file = &file, .layer = &layer, .layer_name = name, .to_bias = to_bias, .strength = strength};
  }

  static std::vector<float> numbers(const at::Tensor& tensor) {
    const at::Tensor flat = tensor.to(at::kFloat).contiguous();
    return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
  }
};

using Numbers = std::vector<float>;

TEST_F(Lora, ThePairIsMultipliedAndScaledByAlphaOverRank) {
  LoraFile file = read(pair_of());
  EXPECT_EQ(numbers(lora_delta(term(file), {3, 2})), (Numbers{3, 6, 4, 8, 5, 10}));
  EXPECT_EQ(numbers(lora_delta(term(file, -0.5), {3, 2})), (Numbers{-1.5, -3, -2, -4, -2.5, -5}));
  Tensors tensors = pair_of();
  tensors[kLayer + ".alpha"] = at::scalar_tensor(0.5f);
  file = read(tensors);
  EXPECT_EQ(numbers(lora_delta(term(file, 2), {3, 2})), (Numbers{3, 6, 4, 8, 5, 10}));
  // Alpha 3 at rank 2.
  tensors = {{"a.lora_down.weight", at::eye(2)}, {"a.lora_up.weight", at::eye(2)}, {"a.alpha", at::tensor({3.0})}};
  file = read(tensors);
  EXPECT_EQ(numbers(lora_delta(term(file), {2, 2})), (Numbers{1.5, 0, 0, 1.5}));
}

TEST_F(Lora, DifferencesAreNotScaledByAlpha) {
  Tensors tensors = pair_of();
  tensors[kLayer + ".alpha"] = at::scalar_tensor(2.0f);
  tensors[kLayer + ".diff"] = at::ones({3, 2});
  tensors[kLayer + ".diff_b"] = at::tensor({1.0f, 2.0f, 3.0f});
  tensors[kLayer + ".lora_B.bias"] = at::tensor({10.0f, 10.0f, 10.0f});
  const LoraFile file = read(tensors);
  EXPECT_EQ(numbers(lora_delta(term(file), {3, 2})), (Numbers{7, 13, 9, 17, 11, 21}));
  EXPECT_EQ(numbers(lora_delta(term(file, 2, true), {3})), (Numbers{42, 44, 46}));
}

TEST_F(Lora, AConvolutionsPairHasTheKernelInItsFirstHalf) {
  const at::Tensor down = at::arange(8, at::kFloat).view({1, 2, 1, 2, 2});
  const LoraFile file = read({{"a.lora_A.weight", down}, {"a.lora_B.weight", at::ones({3, 1, 1, 1, 1}) * 2}});
  at::Tensor slot;
  check_lora_shape(term(file), {"w", &slot, {3, 2, 1, 2, 2}, {}});
  EXPECT_TRUE(at::equal(lora_delta(term(file), {3, 2, 1, 2, 2}), (down * 2).expand({3, 2, 1, 2, 2})));
}

TEST_F(Lora, ASumIsRoundedOnce) {
  // Between 1 and 2 bfloat16 has steps of 1/128: three times 1/512 is lost one by one, and is more than half a step.
  const LoraFile file = read({{"a.diff", at::full({1, 1}, 1.0 / 512)}});
  const std::vector<LoraTerm> terms(3, term(file));
  at::Tensor slot;
  const Param param{"w", &slot, {1, 1}, {}};
  const at::Tensor base = at::ones({1, 1});
  set_with_loras(param, base, terms, at::kBFloat16, at::kCPU);
  EXPECT_EQ(slot.scalar_type(), at::kBFloat16);
  EXPECT_EQ(slot.item<float>(), 1 + 1.0f / 128);
  set_with_loras(param, base.to(at::kBFloat16), terms, at::kBFloat16, at::kCPU);
  EXPECT_EQ(slot.item<float>(), 1 + 1.0f / 128);
  set_with_loras(param, base, {}, at::kBFloat16, at::kCPU);
  EXPECT_EQ(slot.item<float>(), 1);
  EXPECT_EQ(base.item<float>(), 1);
  const Param norm{"norm", &slot, {1, 1}, {}, true};
  set_with_loras(norm, base, terms, at::kBFloat16, at::kCPU);
  EXPECT_EQ(slot.item<float>(), 1 + 3.0f / 512);
}

TEST_F(Lora, AnArrangedWeightIsArrangedAgain) {
  if (!has_tile_registers()) GTEST_SKIP() << "this machine has no AMX, and weights stay as they are";
  const LoraFile file = read({{"a.diff", at::ones({2, 32})}});
  const std::vector<LoraTerm> terms = {term(file)};
  const at::Tensor base = at::ones({2, 32}, at::kBFloat16);
  at::Tensor slot = arranged(base);
  const Param param{"w", &slot, {2, 32}, {}};
  set_with_loras(param, base, terms, at::kBFloat16, at::kCPU);
  ASSERT_TRUE(is_arranged(slot));
  const at::Tensor x = at::ones({1, 32}, at::kBFloat16);
  EXPECT_EQ(numbers(library_linear(x, slot, {})), (Numbers{64, 64}));
  set_with_loras(param, base, {}, at::kBFloat16, at::kCPU);
  EXPECT_EQ(numbers(library_linear(x, slot, {})), (Numbers{32, 32}));
}

TEST_F(Lora, OverflowAndWholeDifferencesOfPackedWeightsAreRefused) {
  const LoraFile file = read({{"a.diff", at::full({1}, 3e38)}});
  const std::vector<LoraTerm> terms = {term(file, 2)};
  at::Tensor slot;
  const Param param{"w", &slot, {1}, {}};
  EXPECT_ERROR(set_with_loras(param, at::ones({1}), terms, at::kFloat, at::kCPU), "a.safetensors", "w becomes NaN");
  const at::Tensor packed =
      packed_tensor({.type = PackedType::kInt8, .shape = {1, 1}, .bytes = at::ones({1}, at::kByte)});
  slot = packed;
  EXPECT_ERROR(set_with_loras(param, packed, terms, at::kFloat, at::kCPU), "w is quantized (int8)");
  slot = at::ones({1});
  EXPECT_ERROR(set_with_loras(param, packed, terms, at::kFloat, at::kCPU), "w becomes NaN");
}

TEST_F(Lora, PairsJoinPackedWeightsAndLeaveThemAgain) {
  const at::Tensor numbers = at::arange(-30, 30, at::kFloat).view({3, 20});
  const at::Tensor packed = packed_tensor(pack(numbers, PackedType::kInt8)), base = unpacked(packed, at::kFloat);
  const LoraFile file = read({{"a.lora_A.weight", at::arange(40, at::kFloat).view({2, 20}) / 40},
                              {"a.lora_B.weight", at::tensor({1.0f, -1.0f, 2.0f, 0.5f, 0.0f, 3.0f}).view({3, 2})},
                              {"a.alpha", at::scalar_tensor(4.0f)}});
  const std::vector<LoraTerm> terms = {term(file, 0.5), term(file, -2)};
  at::Tensor fused = base, slot = packed;
  const Param param{"w", &slot, {3, 20}, {}, false, true}, plain{"w", &fused, {3, 20}, {}};
  set_with_loras(plain, base, terms, at::kFloat, at::kCPU);
  EXPECT_FALSE(at::allclose(fused, base));
  for (int i = 0; i < 2; ++i) {  // a second set replaces the first
    set_with_loras(param, packed, terms, at::kFloat, at::kCPU);
    ASSERT_TRUE(packed_weight(slot));
    EXPECT_CLOSE(unpacked(slot, at::kFloat), fused, 1e-6);
  }
  const at::Tensor rows = at::empty({1, 20});
  unpack_rows(*packed_weight(slot), 2, 1, rows);
  EXPECT_CLOSE(rows, fused.narrow(0, 2, 1), 1e-6);
  set_with_loras(param, packed, {}, at::kFloat, at::kCPU);
  EXPECT_TRUE(same_packed(slot, packed));
}

TEST_F(Lora, Int8ProductsGetTheSumQuantizedAgain) {
  const at::Tensor base = at::arange(-30, 30, at::kFloat).view({3, 20});
  const LoraFile file = read({{"a.diff", at::ones({3, 20}) * 7}});
  const std::vector<LoraTerm> terms = {term(file)};
  at::Tensor slot = int8_tensor(base, at::kBFloat16);
  const Param param{"w", &slot, {3, 20}, {}, false, true, true};
  set_with_loras(param, base, terms, at::kBFloat16, at::kCPU);
  EXPECT_TRUE(same_packed(slot, int8_tensor(base + 7, at::kBFloat16)));
  set_with_loras(param, base, {}, at::kBFloat16, at::kCPU);
  EXPECT_TRUE(same_packed(slot, int8_tensor(base, at::kBFloat16)));
}

TEST_F(Lora, AlphasOfTheHeaderAreDiffusers) {
  const std::string settings = R"({"transformer.lora_alpha": 4, "transformer.r": 1,
      "transformer.alpha_pattern": {"attn1.to_k": 6, "^blocks.1.attn1.to_q": 7}})";
  Tensors tensors = pair_of();
  for (const std::string layer : {"transformer.blocks.0.attn1.to_k", "transformer.blocks.1.attn1.to_q"})
    tensors.merge(pair_of(layer));
  LoraFile file = read(tensors, {{"lora_adapter_metadata", settings}});
  EXPECT_EQ(file.layers.at(kLayer).scale, 4);
  EXPECT_EQ(file.layers.at("transformer.blocks.0.attn1.to_k").scale, 6);
  EXPECT_EQ(file.layers.at("transformer.blocks.1.attn1.to_q").scale, 7);
  EXPECT_ERROR(read(tensors, {{"lora_adapter_metadata", "{"}}), "lora_adapter_metadata", "not a JSON object");
  EXPECT_ERROR(read(tensors, {{"lora_adapter_metadata", R"({"transformer.lora_alpha": "x"})"}}), "must be a number");
  EXPECT_ERROR(read(tensors, {{"lora_adapter_metadata", R"({"transformer.use_dora": true})"}}), "DoRA");
}

TEST_F(Lora, PeftsSettingsLieBesideItsFile) {
  const Tensors tensors = {{"base_model.model.a.lora_A.weight", at::ones({4, 2})},
                           {"base_model.model.a.lora_B.weight", at::ones({2, 4})}};
  write_safetensors(folder / "adapter_model.safetensors", tensors);
  EXPECT_EQ(read_lora_file(folder.path()).layers.begin()->second.scale, 1);
  test::write_bytes(folder / "adapter_config.json", R"({"lora_alpha": 8, "use_rslora": false})");
  EXPECT_EQ(read_lora_file(folder.path()).layers.begin()->second.scale, 2);
  test::write_bytes(folder / "adapter_config.json", R"({"lora_alpha": 8, "use_rslora": true})");
  const LoraFile file = read_lora_file(folder / "adapter_model.safetensors");
  EXPECT_EQ(file.layers.begin()->second.scale, 4);
  EXPECT_EQ(file.files.size(), 2u);
}

TEST_F(Lora, HostileFilesGetOneLine) {
  const auto with = [](const std::string& name, const at::Tensor& tensor) {
    Tensors tensors = pair_of();
    tensors[name] = tensor;
    return tensors;
  };
  const std::string down = kLayer + ".lora_A.weight", up = kLayer + ".lora_B.weight", alpha = kLayer + ".alpha";
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(read({{down, at::ones({0, 2})}, {up, at::ones({3, 0})}}), kLayer, "rank 0");
  EXPECT_ERROR(read(with(up, at::ones({3, 2}))), kLayer, "two ranks", "[1, 2]", "[3, 2]");
  EXPECT_ERROR(read(with(up, at::ones({3}))), kLayer, "want [rank, in]");
  EXPECT_ERROR(read({{down, at::ones({1, 2})}}), down, "no second half");
  EXPECT_ERROR(read({{up, at::ones({2, 1})}}), up, "no first half");
  EXPECT_ERROR(read(with(down, at::full({1, 2}, nan))), down, "NaN or infinity");
  EXPECT_ERROR(read(with(up, at::full({3, 1}, inf))), up, "NaN or infinity");
  EXPECT_ERROR(read(with(alpha, at::scalar_tensor(nan))), alpha, "want a finite number");
  EXPECT_ERROR(read(with(alpha, at::scalar_tensor(1e30f))), kLayer, "alpha 1e+30 at rank 1", "damaged");
  EXPECT_ERROR(read(with(alpha, at::ones({2}))), alpha, "want one number");
  EXPECT_ERROR(read(with(down, at::ones({1, 2}, at::kInt))), down, "want floating-point numbers");
  EXPECT_ERROR(read(with(kLayer + ".lora_down.weight", at::ones({1, 2}))), "there twice");
  EXPECT_ERROR(read(with(kLayer + ".dora_scale", at::ones({1}))), "is a DoRA");
  EXPECT_ERROR(read({{"a.hada_w1_a", at::ones({1})}}), "is a LoHa");
  EXPECT_ERROR(read({{"a.lokr_w1", at::ones({1})}}), "is a LoKr");
  EXPECT_ERROR(read({{"blocks.0.attn1.to_q.weight", at::ones({1})}}), "is not a LoRA", "none of its 1 tensor");
  test::write_bytes(folder / "x.safetensors", "<html>");
  EXPECT_ERROR(read_lora_file(folder / "x.safetensors"), "x.safetensors is not a LoRA", "web page");
  EXPECT_ERROR(read_lora_file(folder / "none.safetensors"), "none.safetensors");
  EXPECT_ERROR(read_lora_file(folder.path()), "without adapter_model.safetensors");
}

TEST_F(Lora, ShapesOfAnotherModelAreRefused) {
  at::Tensor slot;
  const LoraFile file = read(pair_of());
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{2, 2}, {3, 3}, {3}, {3, 2, 2}, {6}})
    EXPECT_ERROR(check_lora_shape(term(file), {"w", &slot, shape, {}}), "a.safetensors", kLayer, "another model");
  check_lora_shape(term(file), {"w", &slot, {3, 2}, {}});
  const LoraFile difference = read({{"a.diff", at::ones({4})}, {"a.diff_b", at::ones({5})}});
  EXPECT_ERROR(check_lora_shape(term(difference), {"w", &slot, {3}, {}}), "[4]", "w is [3]");
  EXPECT_ERROR(check_lora_shape(term(difference, 1, true), {"b", &slot, {4}, {}}), "[5]", "b is [4]");
}

}  // namespace
}  // namespace tessera
