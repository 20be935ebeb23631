#include "pipelines/untrained.h"

#include <algorithm>

#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

/// "a, b and 3 more"
std::string listed(const std::vector<std::string>& items) {
  constexpr size_t kShown = 8;
  const std::vector<std::string> first(items.begin(),
                                       items.begin() + static_cast<std::ptrdiff_t>(std::min(items.size(), kShown)));
  const size_t more = items.size() - first.size();
  return joined(first) + (more > 0 ? " and " + std::to_string(more) + " more" : "");
}

std::string quoted(const std::string& word) {
  constexpr size_t kLongest = 40;
  return '"' + shortened(word, kLongest) + '"';
}

}  // namespace

Untrained::Untrained(const ModelDir& model) : known_(TrainedOn::read(model.index)) {}

void Untrained::add(const Job& job) {
  if (!known_) return;
  const std::string size = std::to_string(*job.width) + "x" + std::to_string(*job.height);
  const auto& sizes = known_->sizes;
  if (!sizes.empty() && std::find(sizes.begin(), sizes.end(), size) == sizes.end() && seen_.insert(size).second)
    sizes_.push_back(size);
  const auto& frames = known_->frames;
  if (!frames.empty() && std::find(frames.begin(), frames.end(), *job.frames) == frames.end())
    frames_.insert(*job.frames);
  if (known_->words.empty() || !prompts_.insert(job.prompt + "\n" + job.negative_prompt).second) return;
  bool strange = false;
  for (const std::string* text : {&job.prompt, &job.negative_prompt})
    for (const std::string& word : words_of(*text)) {
      if (known_->words.count(word)) continue;
      strange = true;
      if (seen_.insert(quoted(word)).second) words_.push_back(quoted(word));
    }
  if (strange) ++strange_prompts_;
}

std::string Untrained::words_note() const {
  const auto prompts = static_cast<int64_t>(prompts_.size());
  const std::string which = prompts == 1
                                ? "the prompt has"
                                : std::to_string(strange_prompts_) + " of " + std::to_string(prompts) + " prompts have";
  return which + " words that this model was not trained on: " + listed(words_) +
         "; it draws only what it knows, and tessera info lists its words";
}

std::vector<std::string> Untrained::notes() const {
  std::vector<std::string> notes;
  if (!words_.empty()) notes.push_back(words_note());
  if (!sizes_.empty())
    notes.push_back("this model was trained at " + joined(known_->sizes) + " only; at " + listed(sizes_) +
                    " shapes may be wrong");
  if (!frames_.empty())
    notes.push_back("this model was trained with " + known_->frames_text() + " only; with " + joined(frames_) +
                    " shapes and motion may be wrong");
  return notes;
}

}  // namespace tessera
