#include "core/disk_space.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace tessera {
namespace {

TEST(DiskSpace, TooLittleIsRefusedBeforeTheWork) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path();
  EXPECT_NO_THROW(check_free_space(folder / "x.png", 1));
  EXPECT_NO_THROW(check_free_space(folder / "no" / "such" / "x.png", int64_t{1} << 62));
  try {
    check_free_space(folder / "x.png", int64_t{1} << 62);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kFailed);  // as a disk that fills up while writing
    EXPECT_NE(std::string(e.what()).find("4611686018427388 kB may be needed"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace tessera
