// Files that lie: whatever the bytes, read_safetensors gives tensors that lie inside the file, or one clear Error.
#include <nlohmann/json.hpp>
#include <random>

#include "tests/weights/support.h"

namespace tessera {
namespace {

using nlohmann::json;
using test::error_of;
using test::read_text;
using test::safetensors_bytes;
using test::TemporaryFolder;
using test::write_bytes;

class HostileFile : public testing::Test {
 protected:
  /// Reading a file of these bytes must fail with a message that holds the file's name and `parts`.
  void expect_error(const std::string& bytes, std::vector<std::string> parts) {
    const std::filesystem::path path = folder_ / "hostile.safetensors";
    write_bytes(path, bytes);
    const std::string message = error_of([&] { read_safetensors(path); });
    EXPECT_LT(message.size(), path.string().size() + 500) << message;
    parts.push_back(path.string());
    for (const auto& part : parts)
      EXPECT_NE(message.find(part), std::string::npos) << "want \"" << part << "\" in: " << message;
  }
  void expect_header_error(const std::string& header, const std::string& data, std::vector<std::string> parts) {
    expect_error(safetensors_bytes(header, data), std::move(parts));
  }
  /// A file of one tensor "weird" with this dtype, shape and offsets, and `size` bytes of data.
  void expect_tensor_error(const json& dtype, const json& shape, const json& offsets, size_t size,
                           std::vector<std::string> parts) {
    parts.push_back("tensor \"weird\"");
    const json header = {{"weird", {{"dtype", dtype}, {"shape", shape}, {"data_offsets", offsets}}}};
    expect_header_error(header.dump(), std::string(size, '\0'), std::move(parts));
  }

  TemporaryFolder folder_;
};

TEST_F(HostileFile, ValidOnesLoad) {
  const std::string plain = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  for (const std::string& header : {plain, plain + "  \n ", " " + plain, std::string("{}  ")}) {
    write_bytes(folder_ / "f", safetensors_bytes(header, header[0] == '{' && header[1] == '}' ? "" : "\1\2"));
    EXPECT_NO_THROW(read_safetensors(folder_ / "f")) << header;
  }
}

TEST_F(HostileFile, NotThereOrNotAFile) {
  EXPECT_ERROR(read_safetensors(folder_ / "none"), (folder_ / "none").string(), "no such file");
  EXPECT_ERROR(read_safetensors(folder_.path()), folder_.path().string(), "not a regular file");
  EXPECT_ERROR(read_safetensors("/dev/null"), "/dev/null", "not a regular file");
}

TEST_F(HostileFile, CutAtEveryLength) {
  write_safetensors(
      folder_ / "whole",
      {{"weight", at::ones({3, 5})}, {"bias", at::ones({5}, at::kHalf)}, {"steps", at::ones({3}, at::kChar)}},
      {{"format", "pt"}});
  const std::string whole = read_text(folder_ / "whole");
  for (size_t length = 0; length < whole.size(); ++length) expect_error(whole.substr(0, length), {});
  expect_error(whole.substr(0, 5), {"is truncated", "5 bytes"});
  expect_error(whole.substr(0, 100), {"truncated", "only 92 bytes follow"});
  expect_error(whole.substr(0, whole.size() - 1), {"tensor \"steps\"", "ends at byte 73", "holds 72", "truncated"});
  expect_error(whole + "x", {"end at byte 73", "holds 74"});
}

TEST_F(HostileFile, HeaderLengths) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  const auto with_length = [&](uint64_t length) {
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + "x";
  };
  for (const uint64_t length : {uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7, uint64_t{100'000'001}})
    expect_error(with_length(length), {"not a safetensors file", std::to_string(length)});
  expect_error(with_length(header.size() + 2), {"should have 55 bytes", "only 54 bytes follow"});
  expect_error(with_length(100'000'000), {"should have 100000000 bytes"});
  expect_error(with_length(0), {"not valid JSON"});
  expect_error(with_length(10), {"not valid JSON"});
  expect_error(with_length(header.size() + 1), {"not valid JSON"});
}

TEST_F(HostileFile, OtherFormatsAreNamed) {
  expect_error("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
               {"Git LFS pointer", "git lfs pull"});
  expect_error(std::string("PK\x03\x04\x00\x00\x08\x08", 8) + std::string(100, '\0'), {"PyTorch or ZIP"});
  expect_error("<!DOCTYPE html><html><body>404</body></html>", {"web page"});
  expect_error("GGUF\x03", {"GGUF"});
}

TEST_F(HostileFile, HeadersThatAreNotTheRightJson) {
  expect_header_error("hello", "", {"not valid JSON"});
  expect_header_error("[]", "", {"is array, want a JSON object"});
  expect_header_error("null", "", {"is null"});
  expect_header_error("{} {}", "", {"not valid JSON"});
  expect_header_error(std::string("{\"a\xff\":{}}"), "", {"not valid JSON"});
  expect_header_error(R"({"weird":3})", "", {"tensor \"weird\" is described by number"});
  expect_header_error(R"({"weird":{}})", "", {"tensor \"weird\" has no \"dtype\""});
  expect_header_error(R"({"__metadata__":[]})", "", {"__metadata__ is array"});
  expect_header_error(R"({"__metadata__":{"a":1}})", "", {"__metadata__ \"a\" is number"});
}

TEST_F(HostileFile, DeepNesting) {
  expect_header_error(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "x", {"nested too deeply"});
  for (const size_t depth : {size_t{5}, size_t{1000}, size_t{1'000'000}}) {
    expect_header_error(std::string(depth, '['), "", {"nested too deeply"});
    std::string objects;
    for (size_t i = 0; i < depth; ++i) objects += R"({"a":)";
    expect_header_error(objects, "", {"nested too deeply"});
  }
}

TEST_F(HostileFile, Duplicates) {
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_header_error(R"({"weird":)" + entry + R"(,"weird":)" + entry + "}", "x", {"names \"weird\" twice"});
  expect_header_error(R"({"weird":)" + entry + R"(,"\u0077eird":)" + entry + "}", "x", {"names \"weird\" twice"});
  expect_header_error(R"({"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", "x",
                      {"names \"dtype\" twice"});
}

TEST_F(HostileFile, Dtypes) {
  expect_tensor_error("F128", {1}, {0, 16}, 16, {"dtype \"F128\"", "F64, F32, F16, BF16"});
  expect_tensor_error("f32", {1}, {0, 4}, 4, {"dtype \"f32\""});
  expect_tensor_error(7, {1}, {0, 4}, 4, {"no \"dtype\" string"});
  expect_tensor_error(std::string(100'000, 'x'), {1}, {0, 4}, 4, {"xxx..."});
}

TEST_F(HostileFile, Shapes) {
  const json huge = int64_t{1} << 62;
  expect_tensor_error("F32", {-1}, {0, 4}, 4, {"\"shape\"", "[-1]"});
  expect_tensor_error("F32", {1.5}, {0, 4}, 4, {"\"shape\"", "[1.5]"});
  expect_tensor_error("F32", {UINT64_MAX}, {0, 4}, 4, {"\"shape\"", "[18446744073709551615]"});
  expect_tensor_error("F32", "1", {0, 4}, 4, {"no \"shape\" array"});
  expect_tensor_error("U8", {huge, 4}, {0, 0}, 0, {"larger than any file", "4611686018427387904"});
  expect_tensor_error("F32", json::array({huge}), {0, 0}, 0, {"larger than any file"});
  expect_tensor_error("F32", {0, huge, huge}, {0, 0}, 0, {"larger than any file"});
  expect_tensor_error("U8", json::array({huge}), {0, 4}, 4, {"has 4 bytes", "needs 4611686018427387904"});
  expect_tensor_error("U8", std::vector<int>(65, 1), {0, 1}, 1, {"65 dimensions"});
}

TEST_F(HostileFile, Offsets) {
  expect_tensor_error("F32", {2}, {0, 4}, 4, {"has 4 bytes", "[2] of \"F32\" needs 8"});
  expect_tensor_error("F32", {1}, {0, 8}, 8, {"has 8 bytes", "needs 4"});
  expect_tensor_error("F32", {1}, {4, 0}, 4, {"[begin, end]", "[4,0]"});
  expect_tensor_error("F32", {1}, {0, 4, 8}, 8, {"[begin, end]"});
  expect_tensor_error("F32", {1}, json::array(), 4, {"[begin, end]"});
  expect_tensor_error("F32", {1}, {-4, 0}, 4, {"\"data_offsets\"", "[-4,0]"});
  expect_tensor_error("F32", {1}, {UINT64_MAX - 3, UINT64_MAX}, 4, {"\"data_offsets\""});
  expect_tensor_error("F32", {1}, {INT64_MAX - 4, INT64_MAX}, 4, {"ends at byte 9223372036854775807", "holds 4"});
  expect_tensor_error("F32", {1}, {4, 8}, 4, {"ends at byte 8", "holds 4"});
  expect_tensor_error("F32", {1}, {4, 8}, 8, {"begins at byte 4, want 0"});
}

TEST_F(HostileFile, OverlapsAndHoles) {
  const auto entry = [](int begin, int end) {
    return json{{"dtype", "U8"}, {"shape", {end - begin}}, {"data_offsets", {begin, end}}};
  };
  const auto expect = [&](const json& header, size_t size, std::vector<std::string> parts) {
    expect_header_error(header.dump(), std::string(size, '\0'), std::move(parts));
  };
  expect({{"a", entry(0, 4)}, {"b", entry(2, 6)}}, 6,
         {"tensor \"b\" overlaps tensor \"a\"", "begins at byte 2", "ends at 4"});
  expect({{"a", entry(0, 4)}, {"b", entry(0, 4)}}, 4, {"tensor \"b\" overlaps tensor \"a\""});
  expect({{"a", entry(0, 6)}, {"b", entry(2, 4)}}, 6, {"tensor \"b\" overlaps tensor \"a\""});
  expect({{"a", entry(0, 2)}, {"b", entry(3, 4)}}, 4, {"tensor \"b\" begins at byte 3, want 2"});
  expect({{"a", entry(0, 2)}}, 4, {"end at byte 2", "holds 4"});
  expect({{"a", entry(0, 2)}, {"b", entry(1, 1)}}, 2, {"tensor \"b\" overlaps tensor \"a\""});
}

TEST_F(HostileFile, NamesAreShownOnOneBoundedLine) {
  expect_header_error(json{{std::string(5000, 'n') + "\n", 1}}.dump(), "", {"nnn..."});
  expect_header_error(json{{"two\nlines\x1b[31m", 1}}.dump(), "", {R"(two\nlines\u001b[31m)"});
}

/// One random edit of `text`.
void mutate(std::string& text, std::mt19937& random) {
  static const std::vector<std::string> kPieces = {"[",
                                                   "]",
                                                   "{",
                                                   "}",
                                                   "\"",
                                                   ",",
                                                   ":",
                                                   "-",
                                                   "-1",
                                                   "1e308",
                                                   "null",
                                                   "true",
                                                   "\\u0000",
                                                   "\xff",
                                                   "18446744073709551615",
                                                   "9223372036854775807",
                                                   "4611686018427387904",
                                                   "[[[[[[[[",
                                                   "{\"a\":{\"a\":{\"a\":",
                                                   "0",
                                                   "1",
                                                   "\"F32\"",
                                                   "\"BOOL\"",
                                                   "__metadata__",
                                                   "data_offsets",
                                                   std::string(1, '\0')};
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  const size_t at = below(text.size());
  const std::string& piece = kPieces[below(kPieces.size())];
  switch (below(6)) {
    case 0:
      text[at] = static_cast<char>(random());
      break;
    case 1:
      text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
      break;
    case 2:
      text.erase(at, 1 + below(8));
      break;
    case 3:
      text.insert(at, piece);
      break;
    case 4:
      text.replace(at, piece.size(), piece);
      break;
    case 5: {
      // One digit of a number becomes another: shapes and offsets that are nearly right.
      const size_t digit = text.find_first_of("0123456789", at);
      if (digit != std::string::npos) text[digit] = static_cast<char>('0' + below(10));
      break;
    }
  }
  if (text.empty()) text = "{";
}

/// Reads a byte of every page and the last, which crashes when a tensor reaches beyond its file.
uint64_t touch(const TensorFile& file) {
  uint64_t sum = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    const auto* bytes = static_cast<const uint8_t*>(tensor.const_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) sum += bytes[i];
  }
  return sum;
}

TEST_F(HostileFile, FiveThousandRandomMutationsLoadOrThrowError) {
  write_safetensors(folder_ / "whole",
                    {{"blocks.0.weight", at::ones({3, 5})},
                     {"blocks.0.bias", at::ones({5}, at::kBFloat16)},
                     {"empty", at::empty({0, 4}, at::kLong)},
                     {"mask", at::ones({3}, at::kBool)}},
                    {{"format", "pt"}});
  const std::string whole = read_text(folder_ / "whole");
  uint64_t length = 0;
  std::memcpy(&length, whole.data(), sizeof length);
  const std::string header = whole.substr(8, length), data = whole.substr(8 + length);
  const std::filesystem::path path = folder_ / "mutant.safetensors";
  std::mt19937 random(20240607);
  int loaded = 0, refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string mutant = header;
    const int edits = 1 + static_cast<int>(random() % 3);
    for (int edit = 0; edit < edits; ++edit) mutate(mutant, random);
    std::string bytes = safetensors_bytes(mutant, data);
    if (random() % 8 == 0) bytes[random() % 8] ^= static_cast<char>(1 << random() % 8);
    write_bytes(path, bytes);
    try {
      touch(read_safetensors(path));
      ++loaded;
    } catch (const Error& e) {
      ++refused;
      ASSERT_NE(std::string(e.what()).find(path.string()), std::string::npos) << e.what();
      ASSERT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    }
  }
  // Both outcomes must really occur: padding and names may change harmlessly, little else may.
  EXPECT_GT(loaded, 50);
  EXPECT_GT(refused, 3000);
}

}  // namespace
}  // namespace tessera
