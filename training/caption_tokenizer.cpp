#include "training/caption_tokenizer.h"

#include <sentencepiece_trainer.h>

#include "core/error.h"
#include "training/captions.h"

namespace tessera {
namespace {

class CaptionIterator : public sentencepiece::SentenceIterator {
 public:
  explicit CaptionIterator(std::vector<std::string> captions) : captions_(std::move(captions)) {}
  bool done() const override { return next_ >= captions_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return captions_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> captions_;
  size_t next_ = 0;
};

}  // namespace

std::string train_caption_tokenizer() {
  CaptionIterator captions(all_captions());
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      "--model_type=unigram --vocab_size=384 --hard_vocab_limit=false --byte_fallback=true --character_coverage=1.0 "
      "--normalization_rule_name=nmt_nfkc_cf --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1 --num_threads=1 "
      "--minloglevel=2",
      &captions, &model);
  if (!status.ok()) throw Error("SentencePiece cannot train the tokenizer: " + status.ToString(), ExitCode::kFailed);
  return model;
}

}  // namespace tessera
