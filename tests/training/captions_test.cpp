#include "training/captions.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "models/umt5/tokenizer.h"
#include "training/caption_tokenizer.h"
#include "weights/trained_on.h"

namespace tessera {
namespace {

Scene star(bool video, Motion motion) {
  Scene scene;
  scene.shape = 0, scene.color = 2, scene.background = 4;  // star, yellow, blue
  scene.video = video;
  scene.motion = motion;
  return scene;
}

TEST(Captions, AllWordings) {
  const Scene scene = star(true, Motion::kLeft);
  EXPECT_EQ(caption(scene), "a yellow star moving left on a blue background");
  EXPECT_EQ(caption(scene, 1), "yellow star moving left, blue background");
  EXPECT_EQ(caption(scene, 2), "on a blue background, a yellow star moving left");
  EXPECT_EQ(caption(scene, 3), "a yellow star moving left in front of a blue background");
  EXPECT_THROW(caption(scene, 4), Error);
}

TEST(Captions, StillsSayNothingAboutMotion) {
  EXPECT_EQ(caption(star(false, Motion::kStill)), "a yellow star on a blue background");
  EXPECT_EQ(caption(star(true, Motion::kStill), 0), "a yellow star standing still on a blue background");
  EXPECT_EQ(caption(star(true, Motion::kStill), 1), "yellow star, blue background");
}

TEST(Captions, TheBundledModelNamesTheirWords) {
  const std::filesystem::path source = TESSERA_SOURCE_DIR;
  const auto index = JsonConfig::read(source / "weights/bundled/model_index.json");
  const TrainedOn known = TrainedOn::read(index).value();
  EXPECT_EQ(known.words, caption_words());
  EXPECT_EQ(known.words.count("lightning") + known.words.count("shrinking") + known.words.count("front"), 3u);
  EXPECT_EQ(known.sizes, (std::vector<std::string>{"96x96", "96x160", "112x112", "112x176", "128x128", "128x192",
                                                   "144x144", "160x96", "160x160", "176x112", "192x128", "192x192"}));
  EXPECT_EQ(known.frames, (std::vector<int64_t>{1, 5, 9, 17, 33}));
}

TEST(Captions, ArticleFollowsTheSound) {
  Scene scene = star(false, Motion::kStill);
  scene.color = 1, scene.background = 5;  // orange on purple
  EXPECT_EQ(caption(scene), "an orange star on a purple background");
  std::swap(scene.color, scene.background);
  EXPECT_EQ(caption(scene), "a purple star on an orange background");
}

TEST(CaptionTokenizer, FewPiecesACaptionAndAnyTextIsTaken) {
  const std::string bytes = train_caption_tokenizer();
  EXPECT_EQ(bytes, train_caption_tokenizer());
  const Tokenizer tokenizer = Tokenizer::from_bytes(bytes, "test");
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  std::set<std::vector<int64_t>> seen;
  for (const std::string& text : all_captions()) {
    const std::vector<int64_t> ids = tokenizer.encode(text);
    EXPECT_LE(ids.size(), 26u) << text;
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 0) << text;
    seen.insert(ids);
  }
  EXPECT_EQ(seen.size(), std::set<std::string>([] {
                           const auto captions = all_captions();
                           return std::set<std::string>(captions.begin(), captions.end());
                         }())
                             .size());
  for (const std::string& shape : shape_names()) EXPECT_EQ(tokenizer.encode(shape).size(), 2u) << shape;
  EXPECT_EQ(tokenizer.encode("A Yellow STAR"), tokenizer.encode("a yellow star"));
  const std::vector<int64_t> strange = tokenizer.encode("\xE6\x98\x9F zebra 42 \xF0\x9F\x8C\x9F");
  EXPECT_EQ(std::count(strange.begin(), strange.end(), 2), 0) << "byte pieces take any text";
}

}  // namespace
}  // namespace tessera
