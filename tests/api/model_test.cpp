// The library as its users see it: the public headers and the shared library, with the bundled model.
#include <gtest/gtest.h>
#include <tessera/tessera.h>

#include <stdexcept>

#include "tests/support/process.h"

namespace tessera::api {
namespace {

using test::TemporaryFolder;

const Settings kSmall = {
    {"prompt", "a red heart on a white background"}, {"size", "64x64"}, {"steps", "3"}, {"seed", "7"}};

Settings with(Settings settings, const Settings& more) {
  for (const auto& [name, value] : more) settings[name] = value;
  return settings;
}

Error::Cause cause_of_failure(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.cause();
  }
  throw std::logic_error("nothing was thrown");
}

TEST(Library, RendersTheFileThatTheProgramRenders) {
  const TemporaryFolder folder;
  const std::string ours = folder / "ours.png", programs = folder / "program.png";
  Model model;
  EXPECT_EQ(model.render(with(kSmall, {{"output", ours}})), std::vector<std::string>{ours});
  const auto result = test::tessera({"generate", "a red heart on a white background", "--size", "64x64", "--steps", "3",
                                     "--seed", "7", "--quiet", "-o", programs});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(test::read_text(ours), test::read_text(programs));
}

TEST(Library, HandsOutFramesInOrderAndRendersAgain) {
  Model model(with(kSmall, {{"frames", "5"}}));
  const auto render = [&](const Settings& job) {
    std::vector<std::vector<uint8_t>> frames;
    model.render(job, [&](const Frame& frame) {
      EXPECT_EQ(frame.index, static_cast<int64_t>(frames.size()));
      EXPECT_EQ(frame.count, 5);
      EXPECT_EQ(frame.fps, 8);
      frames.emplace_back(frame.rgb, frame.rgb + 3 * frame.width * frame.height);
    });
    return frames;
  };
  const auto first = render({}), other = render({{"seed", "8"}}), again = render({});
  ASSERT_EQ(first.size(), 5u);
  EXPECT_EQ(first.front().size(), 3u * 64 * 64);
  EXPECT_NE(first, other);
  EXPECT_EQ(first, again);
  const uint8_t* corner = first.front().data();
  for (int color = 0; color < 3; ++color) EXPECT_GT(corner[color], 150) << "a white background";
}

TEST(Library, TellsProgressAndNotes) {
  Model model;
  std::vector<std::string> calls, notes;
  model.render(with(kSmall, {{"frames", "1"}}), [](const Frame&) {},
               {.progress =
                    [&](const std::string& stage, int64_t done, int64_t total) {
                      calls.push_back(stage + " " + std::to_string(done) + "/" + std::to_string(total));
                    },
                .note = [&](const std::string& line) { notes.push_back(line); }});
  EXPECT_EQ(calls, (std::vector<std::string>{"denoising 1/3", "denoising 2/3", "denoising 3/3", "decoding 1/1"}));
  EXPECT_EQ(notes,
            (std::vector<std::string>{
                "this model was trained at 96x96, 96x160, 112x112, 112x176, 128x128, "
                "128x192, 144x144, 160x96, 160x160, 176x112, 192x128, 192x192 only; at 64x64 shapes may be wrong",
                "seed 7"}));
}

TEST(Library, CancelsOneRenderAndKeepsNothing) {
  const TemporaryFolder folder;
  Model model;
  int calls = 0;
  const Callbacks callbacks = {.progress = [&](const std::string&, int64_t, int64_t) { ++calls; },
                               .canceled = [&] { return calls == 2; }};
  const Settings job = with(kSmall, {{"output", folder / "a.png"}});
  EXPECT_EQ(cause_of_failure([&] { model.render(job, callbacks); }), Error::Cause::kCanceled);
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(model.render(job).size(), 1u) << "the next render is not canceled";
}

TEST(Library, TwoModelsRenderOnTwoThreads) {
  const TemporaryFolder folder;
  const std::string alone = folder / "alone.png", first = folder / "first.png", second = folder / "second.png";
  Model here, there;
  here.render(with(kSmall, {{"output", alone}}));
  std::thread other([&] { there.render(with(kSmall, {{"output", second}})); });
  here.render(with(kSmall, {{"output", first}}));
  other.join();
  EXPECT_EQ(test::read_text(first), test::read_text(alone));
  EXPECT_EQ(test::read_text(second), test::read_text(alone));
}

TEST(Library, AnExceptionOfACallbackReachesTheCaller) {
  Model model;
  EXPECT_THROW(model.render(kSmall, [](const Frame&) { throw std::out_of_range("mine"); }), std::out_of_range);
}

TEST(Library, FailuresHaveACause) {
  const TemporaryFolder folder;
  Model model;
  for (const Settings& wrong : {Settings{{"stepz", "3"}}, Settings{{"steps", "many"}}, Settings{{"count", "2"}},
                                Settings{{"device", "cuda"}}, Settings{{"output", folder / "a.txt"}}})
    EXPECT_EQ(cause_of_failure([&] { model.render(with(kSmall, wrong)); }), Error::Cause::kBadInput)
        << wrong.begin()->first;
  EXPECT_EQ(cause_of_failure([&] { Model({{"model", folder / "none"}}); }), Error::Cause::kBadInput);
  const auto result = test::tessera({"--version"});
  EXPECT_EQ(result.out, "tessera " + version() + "\n");
}

}  // namespace
}  // namespace tessera::api
