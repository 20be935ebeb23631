#pragma once

#include <gtest/gtest.h>

#include <vector>

namespace tessera::test {

/// Ten losses of one run, and of another that stops after six steps and continues from its checkpoint.
template <typename TrainerType, typename Config>
void expect_same_after_resume(const Config& whole, const Config& halved, std::vector<double>& losses) {
  TrainerType uninterrupted(whole);
  for (int i = 0; i < 10; ++i) losses.push_back(uninterrupted.step());
  {
    TrainerType first(halved);
    for (int i = 0; i < 6; ++i) EXPECT_DOUBLE_EQ(first.step(), losses[static_cast<size_t>(i)]);
    first.save();
  }
  TrainerType second(halved);
  EXPECT_EQ(second.steps_done(), 6);
  for (size_t i = 6; i < 10; ++i) EXPECT_DOUBLE_EQ(second.step(), losses[i]);
}

}  // namespace tessera::test
