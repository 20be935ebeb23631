#include "weights/trained_on.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace tessera {
namespace {

using Words = std::vector<std::string>;

JsonConfig index(const nlohmann::json& value) {
  return {{{"trained_on", value}}, "model_index.json"};
}

TEST(TrainedOn, IsReadAsItIsWritten) {
  const TrainedOn known{.sizes = {"128x128", "96x64"}, .frames = {1, 17}, .words = {"star", "red"}};
  const TrainedOn again = TrainedOn::read(index(known.to_json())).value();
  EXPECT_EQ(again.sizes, known.sizes);
  EXPECT_EQ(again.frames, known.frames);
  EXPECT_EQ(again.words, known.words);
}

TEST(TrainedOn, MayBeAbsentInPartOrWhole) {
  EXPECT_FALSE(TrainedOn::read({nlohmann::json::object(), "model_index.json"}).has_value());
  const TrainedOn empty = TrainedOn::read(index(nlohmann::json::object())).value();
  EXPECT_TRUE(empty.sizes.empty() && empty.frames.empty() && empty.words.empty());
}

TEST(TrainedOn, MistakesAreNamedWithTheirKey) {
  EXPECT_ERROR(TrainedOn::read(index(3)), "model_index.json", "trained_on");
  EXPECT_ERROR(TrainedOn::read(index({{"sizes", 128}})), "sizes", "list of strings");
  EXPECT_ERROR(TrainedOn::read(index({{"words", {1}}})), "words", "list of strings");
  EXPECT_ERROR(TrainedOn::read(index({{"frames", {"x"}}})), "frames", "whole numbers");
  EXPECT_ERROR(TrainedOn::read(index({{"word", {"a"}}})), "word", "words");
}

TEST(TrainedOn, ListsLengthsInWords) {
  const auto text = [](std::vector<int64_t> frames) {
    return TrainedOn{.sizes = {}, .frames = frames, .words = {}}.frames_text();
  };
  EXPECT_EQ(text({}), "");
  EXPECT_EQ(text({1}), "1 frame");
  EXPECT_EQ(text({1, 17}), "1 or 17 frames");
  EXPECT_EQ(text({1, 5, 17}), "1, 5 or 17 frames");
}

TEST(WordsOf, LettersInLowerCaseWithoutPunctuation) {
  EXPECT_EQ(words_of("A red-hot Star, 3 o'clock!"), (Words{"a", "red", "hot", "star", "3", "o'clock"}));
  EXPECT_EQ(words_of(""), Words{});
  EXPECT_EQ(words_of(" ,;\n\x01"), Words{});
}

TEST(WordsOf, OtherAlphabetsAreLettersAndTheirPunctuationIsNot) {
  EXPECT_EQ(words_of("caf\u00E9\u2014\u661F\u3001\u6708"), (Words{"caf\u00E9", "\u661F", "\u6708"}));
  EXPECT_EQ(words_of("a\u00A0b\u200B\uFEFF"), (Words{"a", "b"}));
  EXPECT_EQ(words_of("a\xFFz"), (Words{"a", "z"}));  // not UTF-8
}

}  // namespace
}  // namespace tessera
