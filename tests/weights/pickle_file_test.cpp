#include "weights/pickle_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

const std::filesystem::path kPickles = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/pickles";

at::Tensor array(const ArchiveValue& root, const std::string& key) {
  const ArchiveValue* found = root.find(key);
  return found && found->tensor() ? *found->tensor() : at::Tensor();
}

// made by tests/data/pickles/make.py
TEST(PickleFile, ArraysOfNumpyInEveryProtocolAndOrder) {
  const at::Tensor want = at::arange(6, at::kDouble).view({2, 3});
  for (const char* name : {"arrays_2.pkl", "arrays_3.pkl", "arrays_4.pkl", "arrays_5.pkl"}) {
    const ArchiveValue root = read_pickle(kPickles / name);
    for (const char* key : {"c", "f", "strided", "f4"}) {
      const at::Tensor got = array(root, key);
      ASSERT_TRUE(got.defined()) << name << " " << key;
      EXPECT_TRUE(got.to(at::kDouble).equal(want)) << name << " " << key << got;
    }
    EXPECT_EQ(array(root, "f4").scalar_type(), at::kFloat);
    EXPECT_TRUE(array(root, "vector").equal(want[0])) << name;
    EXPECT_EQ(root.find("scalar")->integer(), 7) << name;
    EXPECT_EQ(root.find("number")->integer(), 7) << name;
  }
  for (const char* name : {"numpy1_2.pkl", "numpy1_5.pkl"}) {
    const ArchiveValue root = read_pickle(kPickles / name);
    for (const char* key : {"c", "f"}) {
      ASSERT_TRUE(array(root, key).defined()) << name << " " << key;
      EXPECT_TRUE(array(root, key).equal(want)) << name << " " << key;
    }
  }
}

TEST(PickleFile, HostileFiles) {
  EXPECT_ERROR(read_pickle(kPickles / "absent.pkl"), "absent.pkl");
  EXPECT_ERROR(read_pickle(kPickles / "evil.pkl"), "evil.pkl", "system", "nothing was run");
  const test::TemporaryFolder folder;
  const auto refused = [&](const std::string& bytes, const std::string& part) {
    test::write_bytes(folder / "x.pkl", bytes);
    EXPECT_ERROR(read_pickle(folder / "x.pkl"), "x.pkl", part);
  };
  refused("", "x.pkl");
  refused("(dp0\nS'mu'\n.", "protocol 2 to 5");
  refused("PK\x03\x04", "protocol 2 to 5");
  refused("\x80\x02U\x01xQ.", "outside of the file");
  const std::string good = test::read_text(kPickles / "arrays_5.pkl");
  for (size_t size = 1; size < good.size(); size += 37) refused(good.substr(0, size), "truncated");
}

// A copy of one buffer costs as much as its bytes: a file cannot have it copied without end.
TEST(PickleFile, CopiesOfOneBufferAreCounted) {
  const test::TemporaryFolder folder;
  std::string bytes = "\x80\x02";
  const auto text = [](const std::string& value) {
    return "\x8c" + std::string(1, static_cast<char>(value.size())) + value;
  };
  const size_t size = 8u << 20;
  const auto number = [](size_t value) {
    std::string little;
    for (int i = 0; i < 4; ++i) little += static_cast<char>(value >> (8 * i));
    return little;
  };
  bytes += "B" + number(size) + std::string(size, '\1') + "q" + std::string(1, '\0');
  bytes += text("numpy") + text("dtype") + "\x93" + text("u1") + "\x85R" + "q\x01";
  bytes += "J" + number(size) + "\x85" + "q\x02" + "(";
  for (int i = 0; i < 100; ++i)
    bytes += text("numpy._core.numeric") + text("_frombuffer") + "\x93(h" + std::string(1, '\0') + "h\x01h\x02" +
             text("C") + "tR";
  bytes += "l.";
  test::write_bytes(folder / "x.pkl", bytes);
  EXPECT_ERROR(read_pickle(folder / "x.pkl"), "more than about");
}

}  // namespace
}  // namespace tessera
