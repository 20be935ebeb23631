#include "weights/bind.h"

#include <fstream>
#include <limits>

#include "tests/weights/support.h"

namespace tessera {
namespace {

using test::error_of;
using test::TemporaryFolder;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A model of three parameters, the last of which stays float32.
struct Small {
  at::Tensor weight, bias, norm;

  ParamList params() {
    ParamList list;
    list.add("layer.weight", weight, {2, 3});
    list.add("layer.bias", bias, {2});
    list.add_float("norm", norm, {3});
    return list;
  }
};

std::map<std::string, at::Tensor> fitting() {
  return {{"layer.weight", at::arange(6, at::kFloat).view({2, 3})},
          {"layer.bias", at::tensor({0.5f, -0.5f})},
          {"norm", at::tensor({1.0f, 1.00390625f, 3.0f})}};
}

TensorFile file_of(std::map<std::string, at::Tensor> tensors) {
  return {std::move(tensors), "small.safetensors"};
}

TEST(Bind, FillsEverySlotInTheAskedDtype) {
  Small model;
  bind(model.params(), file_of(fitting()), at::kBFloat16, at::kCPU);
  EXPECT_EQ(model.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(model.bias.scalar_type(), at::kBFloat16);
  EXPECT_EQ(model.norm.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(model.weight.to(at::kFloat), at::arange(6, at::kFloat).view({2, 3})));
  EXPECT_TRUE(at::equal(model.norm, at::tensor({1.0f, 1.00390625f, 3.0f})));
}

TEST(Bind, TensorsOfTheRightDtypeStayViewsOfTheMap) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", fitting());
  const TensorFile file = read_safetensors(folder / "a");
  Small model;
  bind(model.params(), file, at::kFloat, at::kCPU);
  EXPECT_EQ(model.weight.const_data_ptr(), file.at("layer.weight").const_data_ptr());
  EXPECT_EQ(model.norm.const_data_ptr(), file.at("norm").const_data_ptr());
}

/// Bytes of mapped files that are in this process's memory.
int64_t resident_file_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssFile:")) return std::stoll(line.substr(8)) << 10;
  return -1;
}

TEST(Bind, AStreamedNetworkKeepsNothingOfItsFileInMemory) {
  constexpr int64_t kSize = 4096, kBytes = 2 * kSize * kSize;
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"layer.weight", at::full({kSize, kSize}, 0.5, at::kBFloat16)}});
  const TensorFile file = read_safetensors(folder / "a");
  at::Tensor weight;
  ParamList list;
  list.add("layer.weight", weight, {kSize, kSize});
  list.last_is_packable();
  const int64_t before = resident_file_bytes();
  bind(list, streamed(list, file), at::kBFloat16, at::kCPU);
  EXPECT_LT(resident_file_bytes() - before, kBytes / 4);
  bind(list, file, at::kBFloat16, at::kCPU);  // as a check of the weights does
  EXPECT_LT(resident_file_bytes() - before, kBytes / 4);
  EXPECT_EQ(weight.sum(at::kDouble).item<double>(), 0.5 * kSize * kSize);
  EXPECT_GT(resident_file_bytes() - before, kBytes / 2);
}

TEST(Bind, WorksOnTheMetaDevice) {
  Small model;
  bind(model.params(), file_of(fitting()), at::kBFloat16, at::kMeta);
  EXPECT_TRUE(model.weight.is_meta());
  EXPECT_EQ(model.weight.sizes(), at::IntArrayRef({2, 3}));
  EXPECT_EQ(model.weight.scalar_type(), at::kBFloat16);
}

TEST(Bind, ListsMissingUnexpectedAndMisshapedInOneLine) {
  auto tensors = fitting();
  tensors.erase("layer.bias");
  tensors["layer.weight"] = at::zeros({3, 2});
  tensors["layer.extra"] = at::zeros({7});
  tensors["norm"] = at::zeros({3}, at::kLong);
  Small model;
  EXPECT_EQ(
      error_of([&] { bind(model.params(), file_of(tensors), at::kFloat, at::kCPU); }),
      "small.safetensors does not fit this model: layer.weight is [3, 2], want [2, 3]; missing layer.bias [2]; "
      "norm holds Long, want floating-point numbers, or quantized ones with their scales; unexpected layer.extra [7]");
  EXPECT_FALSE(model.weight.defined() || model.bias.defined() || model.norm.defined());
}

TEST(Bind, SameNumberOfElementsInAnotherShapeIsAnError) {
  auto tensors = fitting();
  tensors["layer.weight"] = at::zeros({6});
  Small model;
  EXPECT_ERROR(bind(model.params(), file_of(tensors), at::kFloat, at::kCPU), "layer.weight is [6], want [2, 3]");
}

TEST(Bind, ListsTenProblemsAndCountsTheRest) {
  auto tensors = fitting();
  for (int i = 0; i < 13; ++i) tensors["extra." + std::to_string(10 + i)] = at::zeros({1});
  Small model;
  const std::string message = error_of([&] { bind(model.params(), file_of(tensors), at::kFloat, at::kCPU); });
  EXPECT_NE(message.find("unexpected extra.19 [1]; and 3 more"), std::string::npos) << message;
  EXPECT_EQ(message.find("extra.20"), std::string::npos) << message;

  tensors.erase("extra.20");
  tensors.erase("extra.21");
  tensors.erase("extra.22");
  const std::string ten = error_of([&] { bind(model.params(), file_of(tensors), at::kFloat, at::kCPU); });
  EXPECT_TRUE(ten.ends_with("unexpected extra.19 [1]")) << ten;
}

TEST(Bind, NamesTensorsThatHoldNaNOrInfinity) {
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e5m2}) {
    for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity}) {
      auto tensors = fitting();
      tensors["layer.weight"].view(-1)[5] = bad;
      tensors["layer.weight"] = tensors["layer.weight"].to(type);
      tensors["norm"].fill_(bad);
      Small model;
      EXPECT_EQ(
          error_of([&] { bind(model.params(), file_of(tensors), at::kFloat, at::kCPU); }),
          "small.safetensors does not fit this model: layer.weight holds NaN or infinity; norm holds NaN or infinity")
          << type << " " << bad;
      EXPECT_FALSE(model.bias.defined());
      EXPECT_NO_THROW(bind(model.params(), file_of(tensors), at::kFloat, at::kCPU, /*check_finite=*/false));
    }
  }
}

TEST(Bind, TheLargestFiniteNumbersPass) {
  auto tensors = fitting();
  tensors["layer.bias"] = at::tensor({std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()});
  Small model;
  EXPECT_NO_THROW(bind(model.params(), file_of(tensors), at::kFloat, at::kCPU));
  tensors["layer.bias"] = at::tensor({65504.0f, -65504.0f}).to(at::kHalf);
  EXPECT_NO_THROW(bind(model.params(), file_of(tensors), at::kHalf, at::kCPU));
}

TEST(Bind, NumbersTooLargeForTheDtypeAreAnError) {
  auto tensors = fitting();
  tensors["layer.bias"] = at::tensor({70000.0f, 0.0f});
  Small model;
  EXPECT_NO_THROW(bind(model.params(), file_of(tensors), at::kBFloat16, at::kCPU));
  EXPECT_ERROR(bind(model.params(), file_of(tensors), at::kHalf, at::kCPU), "small.safetensors",
               "layer.bias holds numbers too large for Half");
}

TEST(Bind, OneBadNumberAnywhereInALargeTensorIsFound) {
  constexpr int64_t kSize = 300'000;
  for (const int64_t place : {int64_t{0}, int64_t{65'535}, int64_t{65'536}, kSize - 1}) {
    at::Tensor big, values = at::zeros({kSize});
    values[place] = kInfinity;
    ParamList params;
    params.add("big", big, {kSize});
    EXPECT_ERROR(bind(params, file_of({{"big", values}}), at::kFloat, at::kCPU), "big holds NaN or infinity");
  }
}

TEST(Bind, EmptyListsAndEmptyTensors) {
  at::Tensor none;
  ParamList params;
  EXPECT_NO_THROW(bind(params, file_of({}), at::kFloat, at::kCPU));
  params.add("none", none, {0, 4});
  EXPECT_NO_THROW(bind(params, file_of({{"none", at::empty({0, 4})}}), at::kFloat, at::kCPU));
  EXPECT_EQ(none.sizes(), at::IntArrayRef({0, 4}));
}

TEST(Bind, AParameterListedTwiceIsAProgrammingError) {
  Small model;
  ParamList params = model.params();
  params.add("norm", model.norm, {3});
  EXPECT_THROW(bind(params, file_of(fitting()), at::kFloat, at::kCPU), c10::Error);
}

}  // namespace
}  // namespace tessera
