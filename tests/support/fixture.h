#pragma once

#include <gtest/gtest.h>

#include "tests/support/parity_fixture.h"

/// Same shape, all finite, and max|a - b| / max|b| <= tolerance.
#define EXPECT_CLOSE(actual, expected, tolerance)                                       \
  do {                                                                                  \
    const at::Tensor actual_ = (actual), expected_ = (expected);                        \
    ASSERT_EQ(actual_.sizes(), expected_.sizes()) << #actual;                           \
    ASSERT_TRUE(actual_.isfinite().all().item<bool>()) << #actual << " is not finite";  \
    EXPECT_LE(tessera::test::relative_error(actual_, expected_), tolerance) << #actual; \
  } while (false)
