#include "models/umt5/tokenizer.h"

#include <ATen/ATen.h>
#include <sentencepiece_processor.h>

#include <algorithm>

#include "core/error.h"
#include "core/size_limits.h"
#include "core/text.h"
#include "models/umt5/spiece_check.h"

namespace tessera {
namespace {

std::string read_bytes(const std::filesystem::path& path) {
  const std::string bytes = read_small_file(path, limits::kTokenizerBytes, "a SentencePiece model");
  if (bytes.empty()) throw Error("cannot read the tokenizer " + path.string() + ": it is empty; download it again");
  return bytes;
}

/// False when the library refuses the model, by a status or, for pieces that its trie cannot hold, by an exception.
bool load(sentencepiece::SentencePieceProcessor& model, std::string_view bytes) {
  try {
    return model.LoadFromSerializedProto({bytes.data(), bytes.size()}).ok();
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

Tokenizer::Tokenizer(const std::filesystem::path& path) : Tokenizer(from_bytes(read_bytes(path), path.string())) {}

Tokenizer Tokenizer::from_bytes(std::string_view bytes, const std::string& where) {
  const auto refuse = [&](const std::string& problem) {
    throw Error(where + " is not a SentencePiece model, or is cut off (" +
                counted(static_cast<int64_t>(bytes.size()), "byte") + (problem.empty() ? "" : "; it " + problem) +
                "): want the spiece.model of the text encoder");
  };
  if (const std::string problem = spiece_problem(bytes); !problem.empty()) refuse(problem);
  const auto model = std::make_shared<sentencepiece::SentencePieceProcessor>();
  if (!load(*model, bytes) || model->GetPieceSize() < 1) refuse("");
  if (model->eos_id() < 0 || model->pad_id() < 0)
    throw Error(where + " has no " + (model->eos_id() < 0 ? "end-of-sentence" : "padding") +
                " piece: want a T5 or UMT5 tokenizer");
  Tokenizer tokenizer;
  tokenizer.model_ = model;
  return tokenizer;
}

std::vector<int64_t> Tokenizer::encode(const std::string& text) const {
  std::vector<int> pieces;
  const auto status = model_->Encode(text, &pieces);
  TORCH_CHECK(status.ok(), "SentencePiece cannot encode the text: ", status.message());
  std::vector<int64_t> ids(pieces.begin(), pieces.end());
  ids.push_back(model_->eos_id());
  return ids;
}

std::vector<int64_t> Tokenizer::encode(const std::string& text, int64_t max_length) const {
  TORCH_CHECK(max_length >= 1, "Tokenizer: max_length must be positive, got ", max_length);
  std::vector<int64_t> ids = encode(text);
  if (static_cast<int64_t>(ids.size()) > max_length) {
    ids.resize(static_cast<size_t>(max_length));
    ids.back() = model_->eos_id();
  }
  return ids;
}

TokenBatch Tokenizer::encode_batch(const std::vector<std::string>& texts, int64_t max_length) const {
  const int64_t count = static_cast<int64_t>(texts.size());
  TokenBatch batch{at::full({count, max_length}, pad_id(), at::kLong), at::zeros({count, max_length}, at::kLong)};
  for (int64_t row = 0; row < count; ++row) {
    const std::vector<int64_t> ids = encode(texts[static_cast<size_t>(row)], max_length);
    const int64_t length = static_cast<int64_t>(ids.size());
    batch.ids[row].narrow(0, 0, length).copy_(at::tensor(ids, at::kLong));
    batch.mask[row].narrow(0, 0, length).fill_(1);
  }
  return batch;
}

int64_t Tokenizer::vocab_size() const {
  return model_->GetPieceSize();
}
int64_t Tokenizer::eos_id() const {
  return model_->eos_id();
}
int64_t Tokenizer::pad_id() const {
  return model_->pad_id();
}

}  // namespace tessera
