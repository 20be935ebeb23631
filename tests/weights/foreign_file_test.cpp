#include "weights/foreign_file.h"

#include "tests/support/torch_writer.h"
#include "tests/weights/support.h"
#include "weights/bind.h"
#include "weights/npz.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::contains;
using test::TemporaryFolder;
using test::write_bytes;

std::string said_of(const std::string& bytes) {
  return foreign_bytes({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

TensorFile file_with(const std::vector<std::string>& names) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& name : names) tensors[name] = at::ones({2});
  return {std::move(tensors), "a.safetensors"};
}

TEST(ForeignFile, BytesAreNamedForWhatTheyAre) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "it is empty"},
      {std::string("GGUF\x03\0\0\0", 8), "GGUF"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"},
      {"<!DOCTYPE html>\n<html>", "web page (HTML)"},
      {"\n  <HTML><body>Sign in</body></HTML>", "web page (HTML)"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "XML document"},
      {"<Error><Code>NoSuchKey</Code></Error>", "XML document"},
      {"{\"error\":\"Repository not found\"}", "JSON text (\"{\\\"error\\\":\\\"Repository not found\\\"}\")"},
      {"Invalid username or password.", "it is text (\"Invalid username or password.\")"},
      {"Access to model is restricted.\r\nPlease log in", "it is text (\"Access to model is restricted.\")"},
      {"\xe6\x9c\xaa\xe6\x8e\x88\xe6\x9d\x83", "it is text"},  // UTF-8
      {std::string(4096, '\0'), "never filled"},
      {"\x1f\x8b\x08", "gzip"},
      {"\x28\xb5\x2f\xfd", "zstd"},
      {"\x89HDF\r\n\x1a\n", "HDF5"}};
  for (const auto& [bytes, words] : cases) EXPECT_TRUE(contains(said_of(bytes), words)) << said_of(bytes);
  EXPECT_EQ(said_of(std::string("\x40\0\0\0\0\0\0\0{\"a\"", 12)), "");  // a safetensors header
  EXPECT_EQ(said_of(std::string("\xff\xfe\x01\x02", 4)), "");
}

TEST(ForeignFile, EveryReaderNamesThem) {
  const TemporaryFolder folder;
  for (const char* name : {"a.safetensors", "a.pt", "a.npz"}) {
    write_bytes(folder / name, "Invalid username or password.");
    const auto read = [&] {
      if (folder / name == folder / "a.npz")
        NpzFile(folder / name);
      else if (is_torch_archive(folder / name))
        read_torch_archive(folder / name);
      else
        read_safetensors(folder / name);
    };
    EXPECT_ERROR(read(), name, "it is text (\"Invalid username or password.\")", "download it again");
  }
}

TEST(ForeignFile, UnfinishedDownloads) {
  const TemporaryFolder folder;
  const fs::path file = folder / "model.safetensors";
  write_safetensors(file, {{"a", at::ones({2})}});
  EXPECT_NO_THROW(read_safetensors(file));
  for (const char* end : {".aria2", ".part", ".crdownload", ".incomplete"}) {
    SCOPED_TRACE(end);
    const fs::path beside = file.string() + end;
    write_bytes(beside, "x");
    EXPECT_ERROR(read_safetensors(file), "model.safetensors is an unfinished download", beside.string(),
                 "delete that file");
    fs::remove(beside);
    fs::copy_file(file, beside);
    EXPECT_ERROR(refuse_unfinished(beside), std::string("its name ends in ") + end);
    fs::remove(beside);
  }
  // The cache of the Hugging Face hub: the name in a snapshot is a link to the blob.
  fs::create_directories(folder / "blobs");
  fs::create_directories(folder / "snapshots/1");
  fs::rename(file, folder / "blobs/abc");
  fs::create_symlink("../../blobs/abc", folder / "snapshots/1/model.safetensors");
  EXPECT_NO_THROW(read_safetensors(folder / "snapshots/1/model.safetensors"));
  write_bytes(folder / "blobs/abc.incomplete", "x");
  EXPECT_ERROR(read_safetensors(folder / "snapshots/1/model.safetensors"), "snapshots/1/model.safetensors",
               "unfinished download", "abc.incomplete");
}

TEST(ForeignFile, TensorsThatAreNoNetwork) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"diffusion_model.blocks.0.q.lora_A.weight", "diffusion_model.blocks.0.q.lora_B.weight"}, "it is a LoRA"},
      {{"lora_unet_blocks_0_q.lora_down.weight", "lora_unet_blocks_0_q.lora_up.weight", "lora_unet_blocks_0_q.alpha"},
       "it is a LoRA"},
      {{"transformer.blocks.0.attn1.to_q.lora.down.weight", "transformer.blocks.0.attn1.to_q.lora.up.weight"},
       "it is a LoRA"},
      {{"base_model.model.a.lora_A.default.weight", "a.base_layer.weight", "b.weight", "c.weight"}, "not merged"},
      {{"blocks.0.q.weight", "blocks.0.q.weight_scale_inv"}, "scales of a kind that is not read"},
      {{"blocks.0.q.weight", "blocks.0.q.weight_scale_2"}, "scales of a kind that is not read"},
      {{"q.weight", "q.weight.absmax", "q.weight.quant_map"}, "quantized weights (q.weight.absmax)"},
      {{"q.qweight", "q.qzeros", "q.scales"}, "quantized weights"},
      {{"blocks.0.ffn.0.weight", "vace_blocks.0.ffn.0.weight", "vace_patch_embedding.weight"}, "a Wan VACE model"},
      {{"blocks.0.ffn.0.weight", "face_adapter.fuser_blocks.0.linear1_kv.weight"}, "a Wan Animate model"},
      {{"blocks.0.ffn.0.weight", "audio_injector.injector.0.q.weight"}, "a Wan S2V model"}};
  for (const auto& [names, words] : cases) {
    const std::string said = foreign_tensors(file_with(names));
    EXPECT_TRUE(contains(said, words)) << names.front() << ": " << said;
  }
  EXPECT_EQ(foreign_tensors(file_with({"blocks.0.q.weight", "head.alpha", "scale_shift_table", "norm.scale"})), "");
  EXPECT_EQ(foreign_tensors(file_with({})), "");
}

TEST(ForeignFile, BindSaysWhatItIsInPlaceOfListingNames) {
  at::Tensor slot;
  ParamList params;
  params.add("q.weight", slot, {2});
  EXPECT_ERROR(bind(params, file_with({"q.lora_A.weight", "q.lora_B.weight"}), at::kFloat, at::kCPU), "a.safetensors",
               "it is a LoRA");
  EXPECT_ERROR(check_names(params, {{{"q.weight", at::ones({2}, at::kChar)}}, "a.safetensors"}), "q.weight holds Char",
               "quantized");
}

TEST(ForeignFile, OnlyZeros) {
  const auto file = [](const at::Tensor& a, const at::Tensor& b) { return TensorFile({{"a", a}, {"b", b}}, "f"); };
  const at::Tensor zeros = at::zeros({1000});
  at::Tensor one = at::zeros({1000});
  one[333] = 1e-20;  // where no probe looks
  EXPECT_TRUE(holds_only_zeros(file(zeros, at::zeros({3}, at::kBFloat16))));
  EXPECT_FALSE(holds_only_zeros(file(zeros, one)));
  EXPECT_FALSE(holds_only_zeros(file(zeros, at::ones({1}))));
  EXPECT_FALSE(holds_only_zeros(file(at::zeros({0}), at::zeros({0}))));
}

TEST(ForeignFile, WhatAFolderHoldsInPlaceOfWeights) {
  const TemporaryFolder folder;
  EXPECT_EQ(foreign_holdings(folder.path()), "");
  write_bytes(folder / "config.json", "{}");
  EXPECT_EQ(foreign_holdings(folder.path()), "");
  write_bytes(folder / "model.safetensors.part", "");
  fs::create_symlink("../../blobs/none", folder / "model.safetensors");
  const std::string said = foreign_holdings(folder.path());
  for (const char* part :
       {"model.safetensors.part is an unfinished download", "model.safetensors is a link to a file that is not there"})
    EXPECT_TRUE(contains(said, part)) << part << " in: " << said;
}

}  // namespace
}  // namespace tessera
