#pragma once

#include "models/language/language_model.h"
#include "training/trainer.h"

namespace tessera {

/// Config file of `tessera train language`; see training/configs/language.json.
struct LanguageTrainConfig {
  RunConfig run;
  std::vector<std::filesystem::path> text;  ///< files, or folders whose files are all read
  std::filesystem::path output;             ///< the finished model's folder
  nlohmann::json model;                     ///< LanguageModelConfig::from_json's
  int64_t batch = 8;
  int64_t held_out_sequences = 64;  ///< at most so many of the held-out text's are scored

  static LanguageTrainConfig read(const std::filesystem::path& path);
};

/// Bytes of texts, in two parts: of each file the last tenth is held out.
struct SplitText {
  at::Tensor training, held_out;  ///< [bytes] uint8
};

/// Files in the order of their paths; of a folder all visible regular files in and below it. Throws Error naming what
/// cannot be read, and when either part has fewer than `least` bytes.
SplitText read_text(const std::vector<std::filesystem::path>& paths, int64_t least);

/// Mean cross-entropy of logits [B, T, 256] on bytes [B, T], in bits: bits per byte.
double bits_per_byte(const at::Tensor& logits, const at::Tensor& bytes);

/// Trains a language model over bytes to predict the next one, by AdamW. The output folder has config.json, weights and
/// scores.json: {"bits_per_byte": ..., "bytes": ...} of the held-out text.
class LanguageTrainer : public Trainer {
 public:
  explicit LanguageTrainer(LanguageTrainConfig config);
  double step() override;
  /// Bits per byte of the held-out text, in sequences of the model's length one after another.
  double held_out_bits() const;

 private:
  int64_t held_out_rows() const;
  void draw_sheet() override;
  void write_output() override;

  LanguageTrainConfig config_;
  LanguageModelConfig model_config_;
  SplitText text_;
  LanguageModel model_;
  ParamList params_;
};

}  // namespace tessera
