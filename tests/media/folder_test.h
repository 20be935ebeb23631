#pragma once

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera::test {

/// A test with an empty folder of its own, removed afterwards.
class FolderTest : public testing::Test {
 protected:
  TemporaryFolder folder;
};

}  // namespace tessera::test
