#include "weights/npz.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>

#include "core/cancel.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

using test::TemporaryFolder;

const std::filesystem::path kData = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/npz";

void expect_refused(const std::filesystem::path& path, const std::string& part, const std::string& name = "mu") {
  EXPECT_ERROR(NpzFile(path).read(name), part, path.filename().string());
}

std::filesystem::path with_bytes(const TemporaryFolder& folder, const std::string& name, const std::string& bytes) {
  std::ofstream(folder / name, std::ios::binary) << bytes;
  return folder / name;
}

NpyHeader parsed(const std::string& literal, char version = 1) {
  std::string bytes = std::string("\x93NUMPY", 6) + version + '\0' + static_cast<char>(literal.size()) + '\0';
  if (version > 1) bytes += std::string(2, '\0');
  bytes += literal;
  return parse_npy_header({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "x.npy");
}

TEST(Npy, Headers) {
  const NpyHeader header = parsed("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }   \n");
  EXPECT_EQ(header.shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(header.dtype("x"), at::kDouble);
  EXPECT_EQ(header.data_bytes("x"), 96u);
  EXPECT_FALSE(header.fortran_order);
  EXPECT_EQ(parsed("{'shape': (), 'fortran_order': True, 'descr': '>i4'}", 2).shape.size(), 0u);
  EXPECT_TRUE(parsed("{\"descr\": \"|u1\", 'fortran_order': True, 'shape': (7L,)}", 3).fortran_order);
}

TEST(Npy, HeadersThatLie) {
  for (const char* literal :
       {"", "{", "{}", "{'descr': '<f8'}", "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': Maybe, 'shape': (1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)} + __import__('os')",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"})
    EXPECT_THROW(parsed(literal), Error) << literal;
  EXPECT_THROW(parsed("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", 9), Error);
  const auto dtype_of = [](const std::string& descr) {
    return parsed("{'descr': '" + descr + "', 'fortran_order': False, 'shape': (1,)}").data_bytes("x.npy");
  };
  for (const char* descr : {"|O", "<c8", "<f16", "<U99999999999", "", "f", "<m8[ns]"})
    EXPECT_THROW(dtype_of(descr), Error) << descr;
  EXPECT_THROW(parsed("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4)}").data_bytes("x"),
               Error);
}

TEST(Npz, RoundTrip) {
  const TemporaryFolder folder;
  at::manual_seed(1);
  std::map<std::string, at::Tensor> arrays{{"mu", at::randn({5}, at::kDouble)},
                                           {"sigma", at::randn({5, 5}).t()},
                                           {"count", at::tensor(int64_t{7})},
                                           {"none", at::zeros({0, 3})},
                                           {"arr_0", at::randint(256, {3, 4, 4, 3}, at::kByte)}};
  write_npz(folder / "a.npz", arrays, {{"about", "{\"x\": 1}"}, {"empty", ""}});
  const NpzFile file(folder / "a.npz");
  EXPECT_EQ(file.names().size(), 7u);
  for (const auto& [name, array] : arrays) {
    EXPECT_TRUE(file.read(name).equal(array)) << name;
    EXPECT_EQ(file.read(name).sizes(), array.sizes()) << name;
  }
  EXPECT_EQ(file.text("about"), "{\"x\": 1}");
  EXPECT_EQ(file.text("empty"), "");
  EXPECT_FALSE(file.text("other").has_value());
  EXPECT_THROW(file.text("mu"), Error);
  EXPECT_THROW(file.read("about"), Error);
  NpzRows rows(file, "arr_0");
  EXPECT_TRUE(at::cat({rows.next(2), rows.next(2), rows.next(2)}).equal(arrays["arr_0"]));
  write_npz(folder / "b.npz", arrays, {{"about", "{\"x\": 1}"}, {"empty", ""}});
  EXPECT_EQ(test::read_text(folder / "a.npz"), test::read_text(folder / "b.npz"));
}

// The limit stands for a full disk: the error comes from the same calls.
TEST(Npz, ALimitReachedWhileWritingLeavesNoFile) {
  const TemporaryFolder folder;
  const at::Tensor array = at::zeros({1000, 1000});
  const auto write_too_much = [&] {
    install_signal_handlers();
    const rlimit limit = {60000, 60000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string error = test::coded_error_of([&] { write_npz(folder / "a.npz", {{"x", array}}); });
    std::fprintf(stderr, "%s; %zu left\n", error.c_str(), test::listing(folder.path()).size());
    _exit(0);
  };
  EXPECT_EXIT(write_too_much(), testing::ExitedWithCode(0), "1: cannot write .*larger than allowed.*; 0 left");
  EXPECT_ERROR(write_npz(folder / "no" / "a.npz", {{"x", array}}), "does not exist");
}

TEST(Npz, FilesOfNumpy) {
  // made by tests/data/npz/make.py: x = arange(24).reshape(2, 3, 4) in every dtype, order and byte order.
  for (const char* name : {"stored.npz", "deflated.npz", "zip64.npz"}) {
    const NpzFile file(kData / name);
    for (const std::string& array : file.names()) {
      if (array == "text") continue;
      const at::Tensor got = file.read(array);
      EXPECT_EQ(got.sizes(), (at::IntArrayRef{2, 3, 4})) << name << " " << array;
      EXPECT_TRUE(got.to(at::kDouble).equal(at::arange(24, at::kDouble).view({2, 3, 4}))) << name << " " << array;
    }
    EXPECT_GE(file.names().size(), 12u);
    EXPECT_EQ(file.text("text"), "caf? au lait");
    for (const char* array : {"f4_big", "f8_fortran", "i8_big_fortran"}) {
      NpzRows rows(file, array);
      const at::Tensor want = at::arange(24, at::kDouble).view({2, 3, 4});
      for (int64_t i = 0; i < 2; ++i) EXPECT_TRUE(rows.next(1)[0].to(at::kDouble).equal(want[i])) << array << i;
      EXPECT_EQ(rows.next(1).sizes(), (at::IntArrayRef{0, 3, 4})) << array;
    }
  }
  const NpzFile statistics(std::filesystem::path(test::fixture_folder()) / "fid/stats_full_b.npz");
  EXPECT_EQ(statistics.names(), (std::vector<std::string>{"mu", "sigma"}));
  EXPECT_EQ(statistics.read("sigma").dim(), 2);
}

TEST(Npz, ABareArrayIsCalledArr0) {
  // made by tests/data/npz/make.py
  for (const char* name : {"f4_big.npy", "u1_fortran.npy"}) {
    const NpzFile file(kData / name);
    EXPECT_EQ(file.names(), (std::vector<std::string>{"arr_0"}));
    EXPECT_TRUE(file.read("arr_0").to(at::kDouble).equal(at::arange(24, at::kDouble).view({2, 3, 4}))) << name;
    NpzRows rows(file, "arr_0");
    EXPECT_TRUE(rows.next(5).to(at::kDouble).equal(at::arange(24, at::kDouble).view({2, 3, 4}))) << name;
  }
  const TemporaryFolder folder;
  const std::string good = test::read_text(kData / "f4_big.npy");
  for (size_t size = 0; size < good.size(); size += 7)
    expect_refused(with_bytes(folder, "cut.npy", good.substr(0, size)), "cut.npy", "arr_0");
  expect_refused(with_bytes(folder, "long.npy", good + "x"), "claims 96 bytes of data, it has 97", "arr_0");
  expect_refused(kData / "objects.npy", "pickled Python objects", "arr_0");
  expect_refused(kData / "f4_big.npy", "no array \"mu\", only \"arr_0\"");
  // 8 GB in Fortran order, which the file has as a hole.
  const std::string header = make_npy_header("|u1", {2, 1 << 30, 4});
  std::string turned = header;
  turned.replace(turned.find("False"), 5, "True ");
  with_bytes(folder, "large.npy", turned);
  std::filesystem::resize_file(folder / "large.npy", turned.size() + (uint64_t{8} << 30));
  EXPECT_ERROR(NpzRows(NpzFile(folder / "large.npy"), "arr_0"), "large.npy", "Fortran order", "np.ascontiguousarray");
}

TEST(Npz, ListsOfTextsAreThoseOfNumpy) {
  const TemporaryFolder folder;
  const std::vector<std::string> names{"a/1.png", "", "caf\xc3\xa9 \xf0\x9f\x98\x80.png", "bad\xff"};
  write_npz(folder / "a.npz", {}, {}, {{"names", names}, {"none", {}}});
  const NpzFile file(folder / "a.npz");
  const NpyHeader header = file.header("names");
  EXPECT_EQ(header.descr, "<U10");  // the third name's characters
  EXPECT_EQ(header.shape, (std::vector<int64_t>{4}));
  EXPECT_EQ(file.header("none").shape, (std::vector<int64_t>{0}));
  const std::string bytes = test::read_text(folder / "a.npz");
  EXPECT_NE(bytes.find(std::string("\x00\xf6\x01\x00", 4)), std::string::npos) << "U+1F600";
  EXPECT_NE(bytes.find(std::string("\xff\xdc\x00\x00", 4)), std::string::npos) << "Python's stand-in for the byte FF";
}

TEST(Npz, HostileFiles) {
  const TemporaryFolder folder;
  expect_refused(folder / "absent.npz", "absent.npz");
  expect_refused(with_bytes(folder, "empty.npz", ""), "empty.npz");
  expect_refused(with_bytes(folder, "text.npz", "this is no archive at all"), "NumPy archive");
  expect_refused(kData / "stored.npz", "no array \"mu\"");
  expect_refused(kData / "pickled.npz", "pickled", "objects");
  expect_refused(kData / "bomb_header.npz", "claims");
  expect_refused(kData / "not_npy.npz", "not a NumPy array");
  write_npz(folder / "good.npz", {{"mu", at::arange(400, at::kDouble)}});
  const std::string good = test::read_text(folder / "good.npz");
  std::string flipped = good;
  flipped[good.size() / 2] ^= 1;
  expect_refused(with_bytes(folder, "flipped.npz", flipped), "checksum");
  for (size_t size = 0; size < good.size(); size += 97)
    expect_refused(with_bytes(folder, "cut.npz", good.substr(0, size)), "cut.npz");
}

TEST(Npz, EveryDamagedByteIsAnErrorOrTheTruth) {
  const TemporaryFolder folder;
  const std::string good = test::read_text(kData / "deflated.npz");
  const at::Tensor truth = NpzFile(kData / "deflated.npz").read("f8");
  for (size_t at = 0; at < good.size(); at += 13) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
    try {
      EXPECT_TRUE(NpzFile(with_bytes(folder, "x.npz", bytes)).read("f8").equal(truth)) << at;
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace tessera
