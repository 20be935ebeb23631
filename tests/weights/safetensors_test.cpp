#include "weights/safetensors.h"

#include <nlohmann/json.hpp>

#include "tests/weights/support.h"

namespace tessera {
namespace {

using test::error_of;
using test::read_text;
using test::safetensors_bytes;
using test::TemporaryFolder;
using test::write_bytes;

constexpr at::ScalarType kEveryType[] = {at::kDouble, at::kFloat,  at::kHalf,   at::kBFloat16,      at::kLong,
                                         at::kInt,    at::kShort,  at::kChar,   at::kByte,          at::kBool,
                                         at::kUInt64, at::kUInt32, at::kUInt16, at::kFloat8_e4m3fn, at::kFloat8_e5m2};

std::string raw_bytes(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  return {static_cast<const char*>(plain.const_data_ptr()), plain.nbytes()};
}

/// A tensor of `type` whose bytes count up from `first`.
at::Tensor counting_bytes(at::ScalarType type, at::IntArrayRef shape, int first) {
  at::Tensor tensor = at::empty(shape, type);
  auto* bytes = static_cast<uint8_t*>(tensor.data_ptr());
  for (size_t i = 0; i < tensor.nbytes(); ++i) bytes[i] = static_cast<uint8_t>(type == at::kBool ? i % 2 : first + i);
  return tensor;
}

/// Address ranges at which this process maps `path`.
std::vector<std::pair<uintptr_t, uintptr_t>> maps_of(const std::filesystem::path& path) {
  std::ifstream maps("/proc/self/maps");
  std::vector<std::pair<uintptr_t, uintptr_t>> ranges;
  for (std::string line; std::getline(maps, line);) {
    if (!line.ends_with(path.filename().string())) continue;
    const size_t dash = line.find('-');
    ranges.emplace_back(std::stoull(line, nullptr, 16), std::stoull(line.substr(dash + 1), nullptr, 16));
  }
  return ranges;
}

bool lies_in_map(const at::Tensor& tensor, const std::filesystem::path& path) {
  const auto begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  for (const auto& [from, to] : maps_of(path))
    if (from <= begin && begin + tensor.nbytes() <= to) return true;
  return false;
}

TEST(Safetensors, RoundTripOfEveryDtype) {
  const TemporaryFolder folder;
  std::map<std::string, at::Tensor> tensors;
  for (const auto type : kEveryType)
    tensors[std::string("t.") + c10::toString(type)] =
        counting_bytes(type, {3, 5}, 7 * static_cast<int>(tensors.size()));
  write_safetensors(folder / "all.safetensors", tensors);
  const TensorFile file = read_safetensors(folder / "all.safetensors");
  ASSERT_EQ(file.tensors().size(), std::size(kEveryType));
  for (const auto& [name, written] : tensors) {
    const at::Tensor& read = file.at(name);
    EXPECT_EQ(read.scalar_type(), written.scalar_type()) << name;
    EXPECT_EQ(read.sizes(), written.sizes()) << name;
    EXPECT_EQ(raw_bytes(read), raw_bytes(written)) << name;
    EXPECT_TRUE(lies_in_map(read, folder / "all.safetensors")) << name;
  }
}

TEST(Safetensors, ScalarsAndEmptyTensorsAndEmptyFiles) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"scalar", at::scalar_tensor(2.5, at::kDouble)},
                                   {"none", at::empty({0}, at::kFloat)},
                                   {"flat", at::empty({4, 0, 3}, at::kLong)}});
  const TensorFile file = read_safetensors(folder / "a");
  EXPECT_EQ(file.at("scalar").dim(), 0);
  EXPECT_EQ(file.at("scalar").item<double>(), 2.5);
  EXPECT_EQ(file.at("none").sizes(), at::IntArrayRef({0}));
  EXPECT_EQ(file.at("flat").sizes(), at::IntArrayRef({4, 0, 3}));
  EXPECT_EQ(file.at("flat").scalar_type(), at::kLong);
  write_safetensors(folder / "b", {});
  EXPECT_TRUE(read_safetensors(folder / "b").names().empty());
}

TEST(Safetensors, WritesTheDocumentedBytes) {
  const TemporaryFolder folder;
  const std::map<std::string, at::Tensor> tensors = {{"a", at::tensor({1, 2, 3}, at::kByte)},
                                                     {"b", at::tensor({1.0f, -2.0f}, at::kFloat)}};
  write_safetensors(folder / "f", tensors, {{"format", "pt"}});
  // Wide elements first in the data, names in order in the header, padded with spaces to a multiple of eight.
  std::string header = R"({"__metadata__":{"format":"pt"},"a":{"data_offsets":[8,11],"dtype":"U8","shape":[3]},)"
                       R"("b":{"data_offsets":[0,8],"dtype":"F32","shape":[2]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0\x01\x02\x03", 11);
  EXPECT_EQ(read_text(folder / "f"), safetensors_bytes(header, data));
  EXPECT_EQ(read_safetensors(folder / "f").metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
}

TEST(Safetensors, EqualInputGivesEqualBytes) {
  const TemporaryFolder folder;
  const at::Tensor square = at::arange(12, at::kFloat).view({3, 4});
  write_safetensors(folder / "a", {{"x", square.t()}, {"y", square.slice(1, 0, 4, 2)}});
  write_safetensors(folder / "b", {{"y", square.slice(1, 0, 4, 2).clone()}, {"x", square.t().contiguous()}});
  EXPECT_EQ(read_text(folder / "a"), read_text(folder / "b"));
  EXPECT_TRUE(
      at::equal(read_safetensors(folder / "a").at("y"), at::tensor({0.f, 2.f, 4.f, 6.f, 8.f, 10.f}).view({3, 2})));
}

TEST(Safetensors, WritesWeightsThatRequireGradients) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"x", at::ones({2}).requires_grad_()}});
  EXPECT_TRUE(at::equal(read_safetensors(folder / "a").at("x"), at::ones({2})));
}

TEST(Safetensors, NamesMayHoldAnyText) {
  const TemporaryFolder folder;
  const std::string odd = "blocks.0/\"quoted\"\\ \xC3\xA9\n";
  write_safetensors(folder / "a", {{odd, at::ones({1})}, {"", at::zeros({1})}});
  EXPECT_EQ(read_safetensors(folder / "a").names(), (std::vector<std::string>{"", odd}));
}

TEST(Safetensors, TheMapLivesAsLongAsATensor) {
  const TemporaryFolder folder;
  write_safetensors(folder / "alive.safetensors", {{"x", at::arange(4, at::kFloat)}, {"y", at::ones({2})}});
  at::Tensor x;
  {
    const TensorFile file = read_safetensors(folder / "alive.safetensors");
    x = file.at("x");
  }
  EXPECT_TRUE(lies_in_map(x, folder / "alive.safetensors"));
  EXPECT_TRUE(at::equal(x, at::arange(4, at::kFloat)));
  x.reset();
  EXPECT_TRUE(maps_of(folder / "alive.safetensors").empty());
}

TEST(Safetensors, WritingToATensorNeverReachesTheFile) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"x", at::arange(4, at::kFloat)}});
  const std::string before = read_text(folder / "a");
  const at::Tensor x = read_safetensors(folder / "a").at("x");
  x.add_(1);
  EXPECT_EQ(x.sum().item<float>(), 10);
  EXPECT_EQ(read_text(folder / "a"), before);
}

TEST(Safetensors, AFileMayBeRewrittenWhileItsTensorsAreInUse) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"x", at::arange(4, at::kFloat)}});
  const at::Tensor x = read_safetensors(folder / "a").at("x");
  write_safetensors(folder / "a", {{"x", x * 2}});
  EXPECT_TRUE(at::equal(x, at::arange(4, at::kFloat)));
  EXPECT_TRUE(at::equal(read_safetensors(folder / "a").at("x"), x * 2));
}

TEST(Safetensors, AFileLargerThanMemoryIsMappedNotLoaded) {
  const TemporaryFolder folder;
  const uint64_t elements = uint64_t{1} << 39;  // 1 TiB of bfloat16, all of it a hole in the file
  const std::string end = std::to_string(2 * elements);
  std::string header =
      R"({"big":{"dtype":"BF16","shape":[)" + std::to_string(elements) + R"(],"data_offsets":[0,)" + end + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  write_bytes(folder / "big", safetensors_bytes(header, ""));
  std::error_code problem;
  std::filesystem::resize_file(folder / "big", 8 + header.size() + 2 * elements, problem);
  ASSERT_FALSE(problem) << problem.message();
  const at::Tensor big = read_safetensors(folder / "big").at("big");
  EXPECT_EQ(big.numel(), static_cast<int64_t>(elements));
  EXPECT_EQ(big[static_cast<int64_t>(elements) - 1].item<float>(), 0.0f);
}

TEST(Safetensors, UnalignedDataIsCopiedWhereItMust) {
  const TemporaryFolder folder;
  const float values[] = {1.5f, -3.0f};
  const std::string data(reinterpret_cast<const char*>(values), sizeof values);
  std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  for (int padding = 0; padding < 8; ++padding, header += ' ') {
    write_bytes(folder / "a", safetensors_bytes(header, data));
    const at::Tensor x = read_safetensors(folder / "a").at("x");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(x.const_data_ptr()) % sizeof(float), 0u);
    EXPECT_TRUE(at::equal(x, at::tensor({1.5f, -3.0f})));
    EXPECT_EQ(lies_in_map(x, folder / "a"), header.size() % sizeof(float) == 0);
  }
}

TEST(Safetensors, AnUnknownNameSuggestsTheNearest) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"blocks.0.to_q.weight", at::ones({1})}});
  const TensorFile file = read_safetensors(folder / "a");
  EXPECT_EQ(file.find("blocks.0.to_q.bias"), nullptr);
  EXPECT_ERROR(file.at("blocks.0.to_k.weight"), (folder / "a").string(), "blocks.0.to_k.weight",
               "did you mean blocks.0.to_q.weight?");
}

TEST(Safetensors, NothingIsLeftWhenWritingFails) {
  const TemporaryFolder folder;
  EXPECT_ERROR(write_safetensors(folder / "no/such/folder/a", {{"x", at::ones({1})}}), "no/such/folder");
  EXPECT_THROW(write_safetensors(folder / "a", {{"z", at::ones({2}, at::kComplexFloat)}}), c10::Error);
  EXPECT_THROW(write_safetensors(folder / "a", {{"__metadata__", at::ones({2})}}), c10::Error);
  EXPECT_THROW(write_safetensors(folder / "a", {{"x", at::Tensor()}}), c10::Error);
  EXPECT_THROW(write_safetensors(folder / "a", {{"x", at::empty({2}, at::kMeta)}}), c10::Error);
  EXPECT_ERROR(write_safetensors(folder / "a", {{"bad \xff name", at::ones({1})}}), (folder / "a").string(), "UTF-8");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tessera
