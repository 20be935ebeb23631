#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/job.h"
#include "weights/model_dir.h"
#include "weights/trained_on.h"

namespace tessera {

/// Collects what jobs ask for beyond what their model says it was trained on (see weights/trained_on.h), so that the
/// user hears of it before wondering about noise.
class Untrained {
 public:
  /// For a model that says nothing, nothing is ever collected.
  explicit Untrained(const ModelDir& model);

  /// A resolved job.
  void add(const Job& job);
  /// A line about unknown words, one about sizes, one about lengths, however many jobs there are; each only if needed.
  std::vector<std::string> notes() const;

 private:
  std::string words_note() const;

  std::optional<TrainedOn> known_;
  std::set<std::string> prompts_;           // of all jobs
  int64_t strange_prompts_ = 0;             // those of them with unknown words
  std::vector<std::string> words_, sizes_;  // unknown ones, each once, in the order of their appearance
  std::set<std::string> seen_;              // in the two lists
  std::set<int64_t> frames_;
};

}  // namespace tessera
