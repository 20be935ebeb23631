#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace tessera {

/// Token ids of several texts, padded to one length.
struct TokenBatch {
  at::Tensor ids;   ///< int64 [B, L] on the CPU, padding id where mask is 0
  at::Tensor mask;  ///< int64 [B, L], 1 where a token is real
};

/// A SentencePiece model (spiece.model) as UMT5 uses it: the ids of the text, then the end-of-sentence id.
/// Text is taken literally: "</s>" inside a prompt is characters, not the special token. Copies share the model.
class Tokenizer {
 public:
  /// Throws Error naming the file when it cannot be read, is not a SentencePiece model, or has no end or padding piece.
  explicit Tokenizer(const std::filesystem::path& path);
  /// From the bytes of such a file; `where` names them in errors.
  static Tokenizer from_bytes(std::string_view bytes, const std::string& where);

  /// All ids of `text` and the end id. Bytes that are not UTF-8 become U+FFFD.
  std::vector<int64_t> encode(const std::string& text) const;
  /// At most max_length ids, the last of them the end id. Throws c10::Error if max_length < 1.
  std::vector<int64_t> encode(const std::string& text, int64_t max_length) const;
  /// encode(text, max_length) of every text, each padded to max_length.
  TokenBatch encode_batch(const std::vector<std::string>& texts, int64_t max_length) const;

  int64_t vocab_size() const;
  int64_t eos_id() const;
  int64_t pad_id() const;

 private:
  Tokenizer() = default;
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> model_;
};

}  // namespace tessera
