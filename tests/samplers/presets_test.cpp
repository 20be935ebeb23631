#include "samplers/presets.h"

#include <gtest/gtest.h>

#include <set>

#include "samplers/registry.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

TEST(Presets, HaveOneScheduleEachAndNoNameTwice) {
  std::set<std::string> seen;
  for (const auto& preset : sampling_presets()) {
    SCOPED_TRACE(preset.name);
    const int schedules = (preset.steps ? 1 : 0) + (preset.sigmas.empty() ? 0 : 1) + (preset.timesteps.empty() ? 0 : 1);
    EXPECT_EQ(schedules, 1);
    EXPECT_EQ(preset.flow_shift.has_value(), preset.timesteps.empty());
    EXPECT_FALSE(preset.advice.empty());
    EXPECT_FALSE(preset.source.empty());
    EXPECT_TRUE(seen.insert(preset.name).second);
    for (const auto& alias : preset.aliases) EXPECT_TRUE(seen.insert(alias).second) << alias;
    SamplerConfig config;
    config.sampler = preset.sampler;
    const auto sampler =
        make_sampler(config, {.steps = preset_steps(preset), .sigmas = preset.sigmas, .timesteps = preset.timesteps});
    EXPECT_EQ(sampler->calls(), preset_steps(preset));
    for (size_t i = 0; i < preset.sigmas.size(); ++i)  // evenly spaced from 1
      EXPECT_NEAR(preset.sigmas[i], 1 - static_cast<double>(i) / static_cast<double>(preset.sigmas.size()), 1e-12);
  }
}

TEST(Presets, AreFoundByAnySpelling) {
  EXPECT_EQ(find_preset("LightX2V").name, "lightx2v");
  EXPECT_EQ(find_preset("distilled_8").name, "lightx2v-8");
  EXPECT_EQ(find_preset("AccVid").name, "accvideo");
  EXPECT_NE(test::error_of([] { find_preset("causvit"); }).find("did you mean causvid?"), std::string::npos);
}

}  // namespace
}  // namespace tessera
