#include "weights/torch_archive.h"

#include "tests/weights/support.h"

namespace tessera {
namespace {

using test::TemporaryFolder;

std::filesystem::path archive(const std::string& name) {
  return std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/torch_archives" / name;
}

/// 0, 1, 2, ... in this shape and dtype.
at::Tensor arange(std::vector<int64_t> shape, at::ScalarType dtype = at::kFloat) {
  return at::arange(c10::multiply_integers(shape)).view(shape).to(dtype);
}

class BothFormats : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(TorchArchive, BothFormats, testing::Values(".pt", "_legacy.pt"));

TEST_P(BothFormats, EveryDtype) {
  const TensorFile file = read_torch_archive(archive("dtypes" + GetParam()));
  const std::map<std::string, at::ScalarType> kDtypes = {{"float64", at::kDouble},
                                                         {"float32", at::kFloat},
                                                         {"float16", at::kHalf},
                                                         {"bfloat16", at::kBFloat16},
                                                         {"int64", at::kLong},
                                                         {"int32", at::kInt},
                                                         {"int16", at::kShort},
                                                         {"int8", at::kChar},
                                                         {"uint8", at::kByte},
                                                         {"bool", at::kBool},
                                                         {"uint16", at::kUInt16},
                                                         {"uint32", at::kUInt32},
                                                         {"uint64", at::kUInt64},
                                                         {"complex64", at::kComplexFloat},
                                                         {"complex128", at::kComplexDouble},
                                                         {"float8_e4m3fn", at::kFloat8_e4m3fn},
                                                         {"float8_e5m2", at::kFloat8_e5m2}};
  ASSERT_EQ(file.tensors().size(), kDtypes.size());
  for (const auto& [name, dtype] : kDtypes) {
    const at::Tensor& tensor = file.at(name);
    EXPECT_EQ(tensor.scalar_type(), dtype) << name;
    ASSERT_EQ(tensor.sizes(), at::IntArrayRef({3})) << name;
    const auto want = dtype == at::kBool ? at::tensor({0., 1., 1.}, at::kDouble) : arange({3}, at::kDouble);
    const at::Tensor plain = tensor.is_complex() ? at::real(tensor) : tensor;
    EXPECT_TRUE(at::equal(plain.to(at::kDouble), want)) << name;
  }
}

TEST_P(BothFormats, StridesOffsetsAndSharedStorages) {
  const TensorFile file = read_torch_archive(archive("views" + GetParam()));
  const at::Tensor base = arange({4, 6});
  EXPECT_TRUE(at::equal(file.at("base"), base));
  EXPECT_TRUE(at::equal(file.at("transposed"), base.t()));
  EXPECT_EQ(file.at("transposed").strides(), at::IntArrayRef({1, 6}));
  EXPECT_TRUE(at::equal(file.at("column"), at::tensor({2.f, 8.f, 14.f, 20.f})));
  EXPECT_TRUE(at::equal(file.at("inner"), at::tensor({7.f, 9.f, 13.f, 15.f}).view({2, 2})));
  EXPECT_TRUE(at::equal(file.at("row"), at::tensor({18.f, 19.f, 20.f, 21.f, 22.f, 23.f})));
  EXPECT_TRUE(at::equal(file.at("repeated"), at::full({2, 3}, 7.f)));
  EXPECT_EQ(file.at("scalar").item<float>(), 5);
  EXPECT_EQ(file.at("scalar").dim(), 0);
  EXPECT_EQ(file.at("empty").sizes(), at::IntArrayRef({0, 4}));
  // One storage: what is written through one tensor is seen through the others, and never in the file.
  file.at("base")[3][2].fill_(-1);
  EXPECT_EQ(file.at("column")[3].item<float>(), -1);
  EXPECT_EQ(file.at("row")[2].item<float>(), -1);
  EXPECT_EQ(read_torch_archive(archive("views" + GetParam())).at("base")[3][2].item<float>(), 20);
}

class Checkpoints : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(TorchArchive, Checkpoints,
                         testing::Values("checkpoint.pt", "checkpoint_protocol4.pt", "checkpoint_legacy.pt"));

TEST_P(Checkpoints, TensorsOfOneDict) {
  const TensorFile ema = read_torch_archive(archive(GetParam()));
  EXPECT_EQ(ema.names(), (std::vector<std::string>{"bias", "weight"}));
  EXPECT_TRUE(at::equal(ema.at("weight"), 2 * arange({2, 3})));
  const TensorFile model = read_torch_archive(archive(GetParam()), {"absent", "model"});
  EXPECT_TRUE(at::equal(model.at("weight"), arange({2, 3})));
  EXPECT_EQ(model.where(), archive(GetParam()).string());
}

TEST_P(Checkpoints, PlainValues) {
  const TorchArchive checkpoint = load_torch_archive(archive(GetParam()));
  const ArchiveValue& root = checkpoint.root;
  EXPECT_EQ(root.find("epoch")->integer(), 7);
  EXPECT_EQ(root.find("seed")->integer(), int64_t{1} << 40);
  EXPECT_EQ(root.find("loss")->number(), 0.25);
  EXPECT_EQ(*root.find("raw")->bytes(), std::string("\x00\xff", 2));
  EXPECT_TRUE(root.find("none")->is_none());
  EXPECT_EQ(root.find("labels")->items()->size(), 2u);
  const auto& history = *root.find("history")->items();
  ASSERT_EQ(history.size(), 3u);
  EXPECT_EQ(history[0].integer(), 1);
  EXPECT_EQ(history[1].number(), -2.5);
  EXPECT_EQ(*history[2].text(), "three");
  EXPECT_TRUE(at::equal(*root.find("parameter")->tensor(), arange({2})));
  EXPECT_TRUE(at::equal(*root.find("mean")->tensor(), arange({2, 3}).t()));
  const ArchiveValue& moment = *root.find("opt")->find("state")->entries()->at(0).second.find("exp_avg");
  EXPECT_EQ(moment.tensor()->sizes(), at::IntArrayRef({2, 3}));
}

TEST_P(Checkpoints, UnknownObjectsKeepTheirFieldsAndAreListed) {
  const TorchArchive checkpoint = load_torch_archive(archive(GetParam()));
  const ArchiveValue& args = *checkpoint.root.find("args");
  EXPECT_EQ(args.kind(), ArchiveValue::Kind::kObject);
  EXPECT_EQ(*args.class_name(), "argparse.Namespace");
  EXPECT_EQ(*args.find("model")->text(), "DiT-S/2");
  EXPECT_EQ(args.find("image_size")->integer(), 256);
  EXPECT_EQ(args.find("lr")->number(), 1e-4);
  EXPECT_EQ(args.find("ema")->boolean(), true);
  EXPECT_TRUE(args.find("path")->is_none());
  EXPECT_EQ(args.find("layout")->items()->at(2).integer(), 10);
  EXPECT_EQ(args.find("size")->items()->at(1).integer(), 3);
  EXPECT_EQ(*args.find("device")->text(), "cuda:1");
  EXPECT_EQ(args.find("dtype")->description(), "the class or function \"torch.bfloat16\"");
  EXPECT_EQ(checkpoint.root.find("unknown")->find("depth")->integer(), 3);
  const auto listed = [&](const std::string& name) {
    return std::count(checkpoint.skipped.begin(), checkpoint.skipped.end(), name);
  };
  EXPECT_EQ(listed("argparse.Namespace"), 1);
  EXPECT_EQ(listed("__main__.Unknown"), 1);
}

}  // namespace
}  // namespace tessera
