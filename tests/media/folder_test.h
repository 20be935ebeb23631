#pragma once

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera::test {

/// A test with an empty folder of its own, removed afterwards.
class FolderTest : public testing::Test {
 protected:
  TemporaryFolder folder;
};

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace tessera::test
