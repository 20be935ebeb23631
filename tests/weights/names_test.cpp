#include "weights/names.h"

#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/fixture.h"
#include "tests/weights/support.h"

namespace tessera {
namespace {

using test::error_of;

TEST(Names, WholeTransformerAgainstTheReferenceKeyMap) {
  const nlohmann::json config = read_json_object(test::fixture_folder() / "wan_transformer_original" / "config.json");
  const NameTable table = wan_transformer_names(config["model"]["num_layers"].get<int64_t>());
  ASSERT_FALSE(config["key_map"].empty());
  for (const auto& [ours, theirs] : config["key_map"].items()) {
    ASSERT_TRUE(table.count(theirs.get<std::string>())) << theirs;
    EXPECT_EQ(table.at(theirs.get<std::string>()), ours);
  }
}

TEST(Names, EveryNameIsMappedOnceAndOntoItsOwn) {
  const NameTable table = wan_transformer_names(3);
  EXPECT_EQ(table.size(), 15u + 9 + 3 * (7 + 2 * 16 + 5));
  std::set<std::string> ours;
  for (const auto& [from, into] : table) EXPECT_TRUE(ours.insert(into).second) << into;
  EXPECT_FALSE(table.count("blocks.3.modulation"));
  EXPECT_EQ(wan_transformer_names(12).at("blocks.11.ffn.2.bias"), "blocks.11.ffn.net.2.bias");
}

TEST(Names, MhlaExtrasKeepTheirOwnNames) {
  const NameTable table = wan_transformer_names(2);
  EXPECT_EQ(table.at("blocks.1.self_attn.block_attn.conv.weight"), "blocks.1.attn1.block_attn.conv.weight");
  EXPECT_EQ(table.at("blocks.1.self_attn.g.weight"), "blocks.1.attn1.g.weight");
  EXPECT_EQ(table.at("blocks.1.self_attn.g.bias"), "blocks.1.attn1.g.bias");
  EXPECT_EQ(table.at("blocks.1.self_attn.g_norm.weight"), "blocks.1.attn1.g_norm.weight");
  EXPECT_EQ(table.at("blocks.1.self_attn.lepe.weight"), "blocks.1.attn1.lepe.weight");
  EXPECT_EQ(table.at("blocks.1.self_attn.lepe.bias"), "blocks.1.attn1.lepe.bias");
  EXPECT_EQ(wan_attention_names("gated.", "").at("gated.o.weight"), "to_out.0.weight");
}

TEST(Names, RenamingKeepsTensorsAndUnknownNames) {
  const at::Tensor modulation = at::ones({1, 2, 4}), table = at::ones({1, 6, 4});
  const TensorFile file({{"head.modulation", modulation}, {"blocks.0.modulation", table}, {"blocks.0.odd", table}},
                        "wan.pth", {{"format", "pt"}});
  EXPECT_TRUE(has_original_wan_names(file));
  const TensorFile ours = renamed(file, wan_transformer_names(1));
  EXPECT_FALSE(has_original_wan_names(ours));
  EXPECT_EQ(ours.names(),
            (std::vector<std::string>{"blocks.0.odd", "blocks.0.scale_shift_table", "scale_shift_table"}));
  EXPECT_EQ(ours.at("scale_shift_table").const_data_ptr(), modulation.const_data_ptr());
  EXPECT_EQ(ours.where(), "wan.pth");
  EXPECT_EQ(ours.metadata(), file.metadata());
}

TEST(Names, OnlyWholeNamesAreRenamed) {
  // "o.weight" and "self_attn" inside other names stay as they are.
  const TensorFile file({{"video.weight", at::ones({1})}, {"blocks.0.self_attn.q.weight.lora", at::ones({1})}}, "f");
  EXPECT_EQ(renamed(file, wan_transformer_names(1)).names(), file.names());
}

TEST(Names, TokenEmbeddingUnderEitherNameOrBoth) {
  const at::Tensor shared = at::arange(6, at::kFloat).view({3, 2});
  const std::string alias = "encoder.embed_tokens.weight", ours = "shared.weight";
  const std::vector<std::map<std::string, at::Tensor>> stored = {
      {{ours, shared}}, {{alias, shared}}, {{ours, shared}, {alias, shared.clone()}}};
  for (const auto& tensors : stored) {
    const TensorFile file = renamed(TensorFile(tensors, "t5.safetensors"), t5_encoder_names());
    EXPECT_EQ(file.names(), std::vector<std::string>{ours});
    EXPECT_TRUE(at::equal(file.at(ours), shared));
  }
}

TEST(Names, TiedTensorsThatDifferAreAnError) {
  const at::Tensor shared = at::arange(6, at::kFloat).view({3, 2});
  for (const at::Tensor& other : {shared + 1, shared.view({2, 3}), shared.to(at::kBFloat16)}) {
    const TensorFile file({{"shared.weight", shared}, {"encoder.embed_tokens.weight", other}}, "t5.safetensors");
    EXPECT_ERROR(renamed(file, t5_encoder_names()), "t5.safetensors", "shared.weight", "encoder.embed_tokens.weight",
                 "differ");
  }
}

TEST(Names, WrappersOfTrainingCodeAreDroppedWhereverTheyStand) {
  const auto file = [](const std::vector<std::string>& names) {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& name : names) tensors[name] = at::ones({1});
    return TensorFile(std::move(tensors), "w.pt");
  };
  const std::vector<std::string> plain{"blocks.0.attn1.to_q.weight", "norm.weight"};
  const std::vector<std::vector<std::string>> wrapped = {
      {"_orig_mod.blocks.0.attn1.to_q.weight", "_orig_mod.norm.weight"},
      {"blocks.0._orig_mod.attn1.to_q.weight", "norm.weight"},
      {"module._orig_mod.blocks.0.attn1.to_q.weight", "module._orig_mod.norm.weight"},
      {"_fsdp_wrapped_module.blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module.attn1.to_q.weight",
       "_fsdp_wrapped_module.norm.weight"},
      {"module.module.blocks.0.attn1.to_q.weight", "module.module.norm.weight"}};
  for (const auto& names : wrapped) EXPECT_EQ(without_wrappers(file(names)).names(), plain) << names.front();
  EXPECT_EQ(wrappers_of(file(wrapped[3])),
            (std::vector<std::string>{"_fsdp_wrapped_module.", "_checkpoint_wrapped_module."}));
  EXPECT_EQ(wrappers_of(file(wrapped[2])), (std::vector<std::string>{"_orig_mod.", "module."}));
  EXPECT_TRUE(wrappers_of(file(plain)).empty());
  // Parts of longer words stay, and so does module. where not every name begins with it.
  const std::vector<std::string> others{"module.a", "my_orig_mod.weight", "other"};
  EXPECT_EQ(without_wrappers(file(others)).names(), others);
  EXPECT_ERROR(without_wrappers(file({"a.weight", "_orig_mod.a.weight"})), "w.pt", "a.weight is there twice");
  // A whole transformer of Wan's own names, compiled: still recognized.
  const TensorFile ours = canonical_tensors(
      file({"_orig_mod.head.modulation", "_orig_mod.blocks.0._orig_mod.modulation"}), "WanTransformer3DModel");
  EXPECT_EQ(ours.names(), (std::vector<std::string>{"blocks.0.scale_shift_table", "scale_shift_table"}));
}

}  // namespace
}  // namespace tessera
