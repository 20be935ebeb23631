#pragma once

#include <string>

namespace tessera {

/// A SentencePiece unigram model (the bytes of a spiece.model) trained on all_captions(): pieces are about words, case
/// is folded, and 256 byte pieces let it take any UTF-8 text. Ids as T5 has them: padding 0, end 1, unknown 2. The same
/// captions give the same model.
std::string train_caption_tokenizer();

}  // namespace tessera
