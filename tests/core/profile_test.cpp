#include "core/profile.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

namespace tessera {
namespace {

/// A clock that a test moves.
struct Hand {
  double seconds = 100;
  Profile::Clock clock() {
    return [this] { return seconds; };
  }
};

const Profile::Row* row(const std::vector<Profile::Row>& rows, const std::string& name) {
  for (const auto& found : rows)
    if (found.name == name) return &found;
  return nullptr;
}

TEST(Profile, SecondsBelongToTheInnermostScope) {
  Hand hand;
  const Profile profile({}, hand.clock());
  hand.seconds += 1;  // other
  for (int i = 0; i < 2; ++i) {
    const ProfileScope outer("outer");
    hand.seconds += 2;
    {
      const ProfileScope inner("inner");
      hand.seconds += 5;
    }
    hand.seconds += 0.5;
  }
  const auto rows = profile.rows();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].name, "inner");
  EXPECT_DOUBLE_EQ(rows[0].seconds, 10);
  EXPECT_EQ(rows[0].calls, 2);
  EXPECT_EQ(rows[1].name, "outer");
  EXPECT_DOUBLE_EQ(rows[1].seconds, 5);
  EXPECT_EQ(rows[2].name, "other");
  EXPECT_DOUBLE_EQ(rows[2].seconds, 1);
  EXPECT_DOUBLE_EQ(profile.seconds(), 16);
  const std::string table = profile.table();
  EXPECT_NE(table.find("inner                            10.000    62.5%         2"), std::string::npos) << table;
  EXPECT_NE(table.find("total                            16.000   100.0%"), std::string::npos) << table;
}

TEST(Profile, TracesEveryScopeInMicroseconds) {
  Hand hand;
  const Profile profile({}, hand.clock());
  {
    const ProfileScope outer("outer");
    hand.seconds += 0.25;
    const ProfileScope inner("inner");
    hand.seconds += 0.5;
  }
  const auto trace = nlohmann::json::parse(profile.trace());
  const auto& events = trace.at("traceEvents");
  ASSERT_EQ(events.size(), 2u);  // in the order in which they ended
  EXPECT_EQ(events[0].at("name"), "inner");
  EXPECT_EQ(events[0].at("ph"), "X");
  EXPECT_DOUBLE_EQ(events[0].at("ts").get<double>(), 250000);
  EXPECT_DOUBLE_EQ(events[0].at("dur").get<double>(), 500000);
  EXPECT_DOUBLE_EQ(events[1].at("dur").get<double>(), 750000);
  EXPECT_EQ(events[0].at("tid"), events[1].at("tid"));
  EXPECT_EQ(trace.at("otherData").at("dropped_events"), 0);
}

TEST(Profile, ThreadsHaveScopesOfTheirOwn) {
  const Profile profile;
  const ProfileScope here("here");
  std::thread([] { const ProfileScope there("there"); }).join();
  const auto events = nlohmann::json::parse(profile.trace()).at("traceEvents");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].at("name"), "there");
  EXPECT_TRUE(row(profile.rows(), "there"));
}

TEST(Profile, WaitsForTheDeviceAtBothEnds) {
  int waits = 0;
  const Profile profile([&] { ++waits; });
  { const ProfileScope scope("scope"); }
  EXPECT_EQ(waits, 2);
}

TEST(Profile, NothingIsRecordedWithoutOne) {
  { const ProfileScope before("before"); }
  {
    const Profile profile;
    EXPECT_THROW(Profile(), c10::Error);
    EXPECT_EQ(profile.rows().size(), 1u);
  }
  { const ProfileScope after("after"); }
  const Profile next;
  EXPECT_EQ(next.rows().size(), 1u);
}

}  // namespace
}  // namespace tessera
