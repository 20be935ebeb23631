#include "training/captions.h"

#include <array>

#include "core/error.h"
#include "weights/trained_on.h"

namespace tessera {
namespace {

constexpr int64_t kWordings = 4;

std::string with_article(const std::string& words) {
  return (words.find_first_of("aeiou") == 0 ? "an " : "a ") + words;
}

}  // namespace

const char* motion_phrase(Motion motion) {
  switch (motion) {
    case Motion::kStill:
      return "standing still";
    case Motion::kLeft:
      return "moving left";
    case Motion::kRight:
      return "moving right";
    case Motion::kUp:
      return "moving up";
    case Motion::kDown:
      return "moving down";
    case Motion::kSpin:
      return "spinning";
    case Motion::kGrow:
      return "growing";
    case Motion::kShrink:
      return "shrinking";
  }
  throw Error("unknown motion", ExitCode::kFailed);
}

int64_t caption_wordings() {
  return kWordings;
}

std::string caption(const Scene& scene, int64_t wording) {
  const std::string thing = std::string(palette()[scene.color].name) + " " + shape_names()[scene.shape];
  const std::string background = std::string(palette()[scene.background].name) + " background";
  const bool silent = !scene.video || (scene.motion == Motion::kStill && wording % 2 == 1);
  const std::string motion = silent ? "" : std::string(" ") + motion_phrase(scene.motion);
  switch (wording) {
    case 0:
      return with_article(thing) + motion + " on " + with_article(background);
    case 1:
      return thing + motion + ", " + background;
    case 2:
      return "on " + with_article(background) + ", " + with_article(thing) + motion;
    case 3:
      return with_article(thing) + motion + " in front of " + with_article(background);
    default:
      throw Error("caption wording " + std::to_string(wording) + " is not one of 0 to 3", ExitCode::kFailed);
  }
}

std::string caption(const Scene& scene) {
  return caption(scene, 0);
}

std::set<std::string> caption_words() {
  std::set<std::string> words;
  for (const std::string& text : all_captions())
    for (std::string& word : words_of(text)) words.insert(std::move(word));
  return words;
}

std::vector<std::string> all_captions() {
  std::vector<std::string> captions;
  const auto shapes = static_cast<int64_t>(shape_names().size()), colors = static_cast<int64_t>(palette().size());
  for (int64_t shape = 0; shape < shapes; ++shape)
    for (int64_t color = 0; color < colors; ++color)
      for (int64_t motion = -1; motion < kMotions; ++motion)
        for (int64_t wording = 0; wording < kWordings; ++wording) {
          Scene scene;
          scene.shape = shape;
          scene.color = color;
          scene.background = (color + 1 + (shape + wording + motion + 1) % (colors - 1)) % colors;
          scene.video = motion >= 0;
          scene.motion = motion >= 0 ? static_cast<Motion>(motion) : Motion::kStill;
          captions.push_back(caption(scene, wording));
        }
  return captions;
}

}  // namespace tessera
