#pragma once

#include <string>
#include <string_view>

namespace tessera {

/// What is wrong with the bytes of a SentencePiece model (a protocol buffer), "" when nothing is. The library trusts
/// parts of its files: it follows the trie of the normalizer's character map without a bound, and throws or ends the
/// process on pieces that its own trie cannot hold. Call it before the library opens an untrusted file.
/// Source: sentencepiece_model.proto and the unit layout of Darts-clone, version 0.1.97 of the library.
std::string spiece_problem(std::string_view model);

}  // namespace tessera
