#include "core/sha256.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

// The examples of FIPS 180-2, appendix B.
TEST(Sha256, PublishedExamples) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesAndFilesAreOneStream) {
  const test::TemporaryFolder folder;
  const auto path = folder / "a";
  std::ofstream(path, std::ios::binary) << std::string(999997, 'a');
  Sha256 hash;
  hash.update("aaa");
  hash.update_file(path);
  EXPECT_EQ(hash.hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  std::filesystem::remove(path);
  EXPECT_THROW(Sha256().update_file(path), Error);
}

}  // namespace
}  // namespace tessera
