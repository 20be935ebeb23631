#pragma once

#include <set>
#include <string>
#include <vector>

#include "training/scenes.h"

namespace tessera {

/// The number of wordings that caption() knows.
int64_t caption_wordings();

/// "moving left", "spinning", "standing still", ...
const char* motion_phrase(Motion motion);

/// A sentence such as "a yellow star moving left on a blue background", in one of caption_wordings() wordings.
/// Captions of stills, and of motionless clips in every second wording, do not mention motion.
std::string caption(const Scene& scene, int64_t wording);

/// The plain wording used by the evaluator and the sample sheets: wording 0.
std::string caption(const Scene& scene);

/// Every word that occurs in a caption.
std::set<std::string> caption_words();

/// Every caption of every scene content in every wording, the training text of the tokenizer.
std::vector<std::string> all_captions();

}  // namespace tessera
